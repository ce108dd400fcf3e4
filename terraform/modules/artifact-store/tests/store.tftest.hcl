mock_provider "aws" {
  override_during = plan

  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }

  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }

  mock_data "aws_iam_policy_document" {
    defaults = { json = "{\"Version\":\"2012-10-17\",\"Statement\":[]}" }
  }

  mock_resource "aws_kms_key" {
    defaults = { arn = "arn:aws:kms:eu-central-1:123456789012:key/11111111-2222-3333-4444-555555555555" }
  }

  mock_resource "aws_s3_bucket" {
    defaults = { arn = "arn:aws:s3:::releases", bucket_regional_domain_name = "releases.s3.eu-central-1.amazonaws.com" }
  }
}

variables {
  bucket = "releases"
}

run "everything_is_closed_and_encrypted" {
  command = plan

  assert {
    condition = alltrue([
      aws_s3_bucket_public_access_block.this.block_public_acls,
      aws_s3_bucket_public_access_block.this.block_public_policy,
      aws_s3_bucket_public_access_block.this.ignore_public_acls,
      aws_s3_bucket_public_access_block.this.restrict_public_buckets,
    ])
    error_message = "The bucket can be opened to the public."
  }

  assert {
    condition     = one(aws_s3_bucket_server_side_encryption_configuration.this.rule).apply_server_side_encryption_by_default[0].sse_algorithm == "aws:kms"
    error_message = "The bucket is not encrypted with KMS."
  }

  assert {
    condition     = one(aws_s3_bucket_ownership_controls.this.rule).object_ownership == "BucketOwnerEnforced"
    error_message = "Objects can have other owners."
  }

  assert {
    condition     = aws_s3_bucket_versioning.this.versioning_configuration[0].status == "Enabled"
    error_message = "What is replaced by mistake is lost."
  }
}

run "a_key_of_its_own_rotates" {
  command = plan

  assert {
    condition     = length(aws_kms_key.this) == 1 && aws_kms_key.this[0].enable_key_rotation
    error_message = "No key was made, or it does not rotate."
  }
}

run "a_given_key_is_used" {
  command = plan

  variables {
    kms_key_arn = "arn:aws:kms:eu-central-1:123456789012:key/99999999-2222-3333-4444-555555555555"
  }

  assert {
    condition     = length(aws_kms_key.this) == 0 && output.kms_key_arn == var.kms_key_arn
    error_message = "A second key was made."
  }
}

run "plain_http_and_old_tls_are_refused" {
  command = plan

  assert {
    condition     = contains([for statement in data.aws_iam_policy_document.bucket.statement : statement.sid], "TlsOnly")
    error_message = "Plain HTTP is let in."
  }

  assert {
    condition     = alltrue([for statement in data.aws_iam_policy_document.bucket.statement : statement.effect == "Deny"])
    error_message = "The bucket's own policy lets somebody in."
  }
}

run "readers_cannot_write" {
  command = plan

  assert {
    condition = alltrue(flatten([
      for statement in data.aws_iam_policy_document.reader.statement : [for action in statement.actions : contains(["s3:GetObject", "kms:Decrypt"], action)]
    ]))
    error_message = "A reader may do more than read."
  }

  assert {
    condition = alltrue(flatten([
      for statement in data.aws_iam_policy_document.reader.statement : [for resource in statement.resources : !endswith(resource, ":::releases/*")]
    ]))
    error_message = "A reader sees the whole bucket, not the prefixes of releases."
  }
}

run "publishers_cannot_delete_releases" {
  command = plan

  assert {
    condition = alltrue([
      for statement in data.aws_iam_policy_document.publisher.statement :
      !contains(statement.actions, "s3:DeleteObject") || toset(statement.resources) == toset(["arn:aws:s3:::releases/probes/*"])
    ])
    error_message = "A publisher may delete more than its own probes."
  }
}

run "collectors_cannot_touch_signatures" {
  command = plan

  assert {
    condition = alltrue([
      for statement in data.aws_iam_policy_document.collector.statement :
      !contains(statement.actions, "s3:DeleteObject") || !contains(statement.resources, "arn:aws:s3:::releases/tuf/*")
    ])
    error_message = "Garbage collection may delete signed metadata."
  }
}

run "a_cdn_may_read_and_decrypt" {
  command = plan

  variables {
    key_readers = ["arn:aws:cloudfront::123456789012:distribution/E1ABCDEF"]
  }

  assert {
    condition     = contains([for statement in data.aws_iam_policy_document.bucket.statement : statement.sid], "CdnReads")
    error_message = "The CDN cannot read."
  }

  assert {
    condition     = contains([for statement in data.aws_iam_policy_document.key.statement : statement.sid], "CdnDecrypts")
    error_message = "The CDN cannot decrypt."
  }
}

run "logs_only_where_asked" {
  command = plan

  assert {
    condition     = length(aws_s3_bucket_logging.this) == 0
    error_message = "Logs are written to nowhere."
  }
}

run "logs_to_a_bucket" {
  command = plan

  variables {
    access_log_bucket = "my-logs"
  }

  assert {
    condition     = aws_s3_bucket_logging.this[0].target_bucket == "my-logs"
    error_message = "Logs go elsewhere."
  }
}

run "a_wrong_bucket_name" {
  command = plan

  variables {
    bucket = "Releases_1"
  }

  expect_failures = [var.bucket]
}

run "a_wrong_region" {
  command = plan

  variables {
    region = "Frankfurt"
  }

  expect_failures = [var.region]
}

run "an_alias_instead_of_a_key" {
  command = plan

  variables {
    kms_key_arn = "alias/mine"
  }

  expect_failures = [var.kms_key_arn]
}

run "half_a_day" {
  command = plan

  variables {
    replaced_metadata_days = 0.5
  }

  expect_failures = [var.replaced_metadata_days]
}

run "a_cdn_that_is_none" {
  command = plan

  variables {
    key_readers = ["E1ABCDEF"]
  }

  expect_failures = [var.key_readers]
}
