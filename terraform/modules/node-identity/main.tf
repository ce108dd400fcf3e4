# Who a node is to AWS. A node joins the fleet by proving that it runs under this role (a signed
# sts:GetCallerIdentity, which needs no permission), so no secret is in user data.

data "aws_partition" "current" {}

data "aws_caller_identity" "current" {}

resource "aws_iam_role" "this" {
  name                 = var.name
  description          = "An Edgeward node"
  assume_role_policy   = data.aws_iam_policy_document.assume.json
  permissions_boundary = var.permissions_boundary_arn
  max_session_duration = 3600
  tags                 = var.tags
}

data "aws_iam_policy_document" "assume" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["ec2.amazonaws.com"]
    }
  }
}

resource "aws_iam_role_policy" "artifacts" {
  count = var.artifact_reader_policy_json == null ? 0 : 1

  name   = "read-releases"
  role   = aws_iam_role.this.id
  policy = var.artifact_reader_policy_json
}

data "aws_iam_policy_document" "certificate" {
  count = var.certificate == null ? 0 : 1

  statement {
    actions = ["ssm:GetParameters"]
    resources = [
      for name in [var.certificate.certificate_parameter, var.certificate.key_parameter] :
      "arn:${data.aws_partition.current.partition}:ssm:${var.certificate.region}:${data.aws_caller_identity.current.account_id}:parameter/${trimprefix(name, "/")}"
    ]
  }

  dynamic "statement" {
    for_each = var.certificate.kms_key_arn == null ? [] : [var.certificate.kms_key_arn]

    content {
      actions   = ["kms:Decrypt"]
      resources = [statement.value]

      condition {
        test     = "StringEquals"
        variable = "kms:ViaService"
        values   = ["ssm.${var.certificate.region}.amazonaws.com"]
      }
    }
  }
}

resource "aws_iam_role_policy" "certificate" {
  count = var.certificate == null ? 0 : 1

  name   = "read-certificate"
  role   = aws_iam_role.this.id
  policy = data.aws_iam_policy_document.certificate[0].json
}

resource "aws_iam_role_policy_attachment" "session_manager" {
  count = var.session_manager ? 1 : 0

  role       = aws_iam_role.this.name
  policy_arn = "arn:${data.aws_partition.current.partition}:iam::aws:policy/AmazonSSMManagedInstanceCore"
}

resource "aws_iam_instance_profile" "this" {
  name = var.name
  role = aws_iam_role.this.name
  tags = var.tags
}
