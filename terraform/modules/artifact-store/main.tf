# The bucket that releases lie in. Everything but tuf/timestamp.json is immutable and named by its hash; versioning
# keeps what a mistake would replace or delete, and the lifecycle ends that after a while.

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

locals {
  create_key = var.kms_key_arn == null
  key_arn    = local.create_key ? aws_kms_key.this[0].arn : var.kms_key_arn

  # The prefixes of registry/layout.py: whoever serves reads these, and nothing else.
  read_prefixes = ["packs/", "manifests/", "deltas/", "tuf/"]
  # A publisher writes them too, proves conditional writes under probes/, and sees what a collection has condemned.
  write_prefixes = concat(local.read_prefixes, ["probes/"])
  # Collecting garbage removes blobs and says so first; signed metadata are never removed by it.
  collect_prefixes = ["packs/", "manifests/", "deltas/", "condemned/", "probes/"]
}

resource "aws_kms_key" "this" {
  count = local.create_key ? 1 : 0

  region                  = var.region
  description             = "Encrypts the releases in ${var.bucket}"
  enable_key_rotation     = true
  deletion_window_in_days = 30
  policy                  = data.aws_iam_policy_document.key.json
  tags                    = var.tags
}

data "aws_iam_policy_document" "key" {
  # checkov:skip=CKV_AWS_109:a key's policy names the account, whose IAM policies decide; "*" is this key alone
  # checkov:skip=CKV_AWS_111:as above: in a key's policy "*" is the key that the policy hangs on
  # checkov:skip=CKV_AWS_356:as above
  statement {
    sid       = "AccountDecides"
    actions   = ["kms:*"]
    resources = ["*"]

    principals {
      type        = "AWS"
      identifiers = ["arn:${data.aws_partition.current.partition}:iam::${data.aws_caller_identity.current.account_id}:root"]
    }
  }

  dynamic "statement" {
    for_each = length(var.key_readers) > 0 ? [1] : []

    content {
      sid       = "CdnDecrypts"
      actions   = ["kms:Decrypt"]
      resources = ["*"]

      principals {
        type        = "Service"
        identifiers = ["cloudfront.amazonaws.com"]
      }

      condition {
        test     = "StringLike"
        variable = "AWS:SourceArn"
        values   = var.key_readers
      }
    }
  }
}

resource "aws_s3_bucket" "this" {
  # checkov:skip=CKV_AWS_144:releases can be published or mirrored again (`edgeward mirror`); nodes hold what they serve
  # checkov:skip=CKV2_AWS_62:nobody waits for events: nodes learn of releases from signed metadata
  # checkov:skip=CKV_AWS_18:access logs are written where `access_log_bucket` is given
  region        = var.region
  bucket        = var.bucket
  force_destroy = var.force_destroy
  tags          = var.tags
}

resource "aws_s3_bucket_ownership_controls" "this" {
  region = var.region
  bucket = aws_s3_bucket.this.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_public_access_block" "this" {
  region                  = var.region
  bucket                  = aws_s3_bucket.this.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_versioning" "this" {
  region = var.region
  bucket = aws_s3_bucket.this.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "this" {
  region = var.region
  bucket = aws_s3_bucket.this.id

  rule {
    bucket_key_enabled = true

    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = local.key_arn
    }
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "this" {
  region = var.region
  bucket = aws_s3_bucket.this.id

  rule {
    id     = "end-cut-off-uploads"
    status = "Enabled"

    filter {
      prefix = ""
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 3
    }
  }

  rule {
    id     = "end-replaced-versions"
    status = "Enabled"

    filter {
      prefix = ""
    }

    noncurrent_version_expiration {
      noncurrent_days = var.replaced_metadata_days
    }
  }

  depends_on = [aws_s3_bucket_versioning.this]
}

resource "aws_s3_bucket_logging" "this" {
  count = var.access_log_bucket == null ? 0 : 1

  region        = var.region
  bucket        = aws_s3_bucket.this.id
  target_bucket = var.access_log_bucket
  target_prefix = "${var.bucket}/"
}

resource "aws_s3_bucket_policy" "this" {
  region = var.region
  bucket = aws_s3_bucket.this.id
  policy = data.aws_iam_policy_document.bucket.json

  depends_on = [aws_s3_bucket_public_access_block.this]
}

data "aws_iam_policy_document" "bucket" {
  statement {
    sid       = "TlsOnly"
    effect    = "Deny"
    actions   = ["s3:*"]
    resources = [aws_s3_bucket.this.arn, "${aws_s3_bucket.this.arn}/*"]

    principals {
      type        = "*"
      identifiers = ["*"]
    }

    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }

  statement {
    sid       = "ModernTls"
    effect    = "Deny"
    actions   = ["s3:*"]
    resources = [aws_s3_bucket.this.arn, "${aws_s3_bucket.this.arn}/*"]

    principals {
      type        = "*"
      identifiers = ["*"]
    }

    condition {
      test     = "NumericLessThan"
      variable = "s3:TlsVersion"
      values   = ["1.2"]
    }
  }

  dynamic "statement" {
    for_each = length(var.key_readers) > 0 ? [1] : []

    content {
      sid       = "CdnReads"
      actions   = ["s3:GetObject"]
      resources = [for prefix in local.read_prefixes : "${aws_s3_bucket.this.arn}/${prefix}*"]

      principals {
        type        = "Service"
        identifiers = ["cloudfront.amazonaws.com"]
      }

      condition {
        test     = "StringLike"
        variable = "AWS:SourceArn"
        values   = var.key_readers
      }
    }
  }
}

# Policies for the three who use the bucket; module node-identity takes the first.

data "aws_iam_policy_document" "reader" {
  statement {
    sid       = "ReadReleases"
    actions   = ["s3:GetObject"]
    resources = [for prefix in local.read_prefixes : "${aws_s3_bucket.this.arn}/${prefix}*"]
  }

  statement {
    sid       = "Decrypt"
    actions   = ["kms:Decrypt"]
    resources = [local.key_arn]
  }
}

data "aws_iam_policy_document" "publisher" {
  statement {
    sid       = "ListReleases"
    actions   = ["s3:ListBucket"]
    resources = [aws_s3_bucket.this.arn]
  }

  statement {
    sid       = "ReadCondemned"
    actions   = ["s3:GetObject"]
    resources = ["${aws_s3_bucket.this.arn}/condemned/*"]
  }

  statement {
    sid       = "WriteReleases"
    actions   = ["s3:GetObject", "s3:PutObject"]
    resources = [for prefix in local.write_prefixes : "${aws_s3_bucket.this.arn}/${prefix}*"]
  }

  statement {
    sid       = "RemoveProbes"
    actions   = ["s3:DeleteObject"]
    resources = ["${aws_s3_bucket.this.arn}/probes/*"]
  }

  statement {
    sid       = "EncryptAndDecrypt"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
    resources = [local.key_arn]
  }
}

data "aws_iam_policy_document" "collector" {
  source_policy_documents = [data.aws_iam_policy_document.reader.json]

  statement {
    sid       = "ListAll"
    actions   = ["s3:ListBucket"]
    resources = [aws_s3_bucket.this.arn]
  }

  statement {
    sid       = "CollectGarbage"
    actions   = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"]
    resources = [for prefix in local.collect_prefixes : "${aws_s3_bucket.this.arn}/${prefix}*"]
  }
}
