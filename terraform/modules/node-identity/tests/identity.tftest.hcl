mock_provider "aws" {
  override_during = plan

  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }

  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }

  mock_data "aws_iam_policy_document" {
    defaults = { json = "{\"Version\":\"2012-10-17\",\"Statement\":[]}" }
  }

  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/edgeward-node" }
  }

  mock_resource "aws_iam_instance_profile" {
    defaults = { arn = "arn:aws:iam::123456789012:instance-profile/edgeward-node" }
  }
}

run "only_instances_take_the_role" {
  command = plan

  assert {
    condition     = one(one(data.aws_iam_policy_document.assume.statement).principals).identifiers == toset(["ec2.amazonaws.com"])
    error_message = "Others than instances may take the role."
  }
}

run "nothing_is_allowed_by_itself" {
  command = plan

  variables {
    session_manager = false
  }

  assert {
    condition     = length(aws_iam_role_policy.artifacts) == 0 && length(aws_iam_role_policy.certificate) == 0 && length(aws_iam_role_policy_attachment.session_manager) == 0
    error_message = "The role may do something that nobody asked for."
  }
}

run "reads_the_bucket_where_asked" {
  command = plan

  variables {
    artifact_reader_policy_json = "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Action\":\"s3:GetObject\",\"Resource\":\"arn:aws:s3:::releases/packs/*\"}]}"
  }

  assert {
    condition     = aws_iam_role_policy.artifacts[0].policy == var.artifact_reader_policy_json
    error_message = "The policy is not the one that was given."
  }
}

run "reads_the_certificate_and_no_other_parameter" {
  command = plan

  variables {
    certificate = { certificate_parameter = "/edgeward/tls/certificate", key_parameter = "tls-key", region = "eu-central-1" }
  }

  assert {
    condition     = one(data.aws_iam_policy_document.certificate[0].statement).actions == toset(["ssm:GetParameters"])
    error_message = "More than reading is allowed."
  }

  assert {
    condition     = one(data.aws_iam_policy_document.certificate[0].statement).resources == toset(["arn:aws:ssm:eu-central-1:123456789012:parameter/edgeward/tls/certificate", "arn:aws:ssm:eu-central-1:123456789012:parameter/tls-key"])
    error_message = "Other parameters than the two can be read."
  }

  assert {
    condition     = length(aws_iam_role_policy.certificate) == 1
    error_message = "The role has not got the policy."
  }
}

run "decrypts_by_a_key_of_yours_through_the_parameter_store_alone" {
  command = plan

  variables {
    certificate = { certificate_parameter = "/edgeward/tls/certificate", key_parameter = "/edgeward/tls/key", region = "eu-central-1", kms_key_arn = "arn:aws:kms:eu-central-1:123456789012:key/1" }
  }

  assert {
    condition     = [for it in data.aws_iam_policy_document.certificate[0].statement : one(it.condition).values if contains(it.actions, "kms:Decrypt")] == [tolist(["ssm.eu-central-1.amazonaws.com"])]
    error_message = "The key can be used for anything."
  }
}

run "a_shell_without_ssh" {
  command = plan

  assert {
    condition     = aws_iam_role_policy_attachment.session_manager[0].policy_arn == "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"
    error_message = "There is no way to a shell."
  }
}

run "a_boundary_is_kept" {
  command = plan

  variables {
    permissions_boundary_arn = "arn:aws:iam::123456789012:policy/limits"
  }

  assert {
    condition     = aws_iam_role.this.permissions_boundary == "arn:aws:iam::123456789012:policy/limits"
    error_message = "The boundary was dropped."
  }
}

run "a_wrong_name" {
  command = plan

  variables {
    name = "edge node"
  }

  expect_failures = [var.name]
}

run "a_policy_that_is_no_json" {
  command = plan

  variables {
    artifact_reader_policy_json = "s3:GetObject"
  }

  expect_failures = [var.artifact_reader_policy_json]
}

run "an_alias_instead_of_a_key" {
  command = plan

  variables {
    certificate = { certificate_parameter = "/edgeward/tls/certificate", key_parameter = "/edgeward/tls/key", region = "eu-central-1", kms_key_arn = "arn:aws:kms:eu-central-1:123456789012:alias/tls" }
  }

  expect_failures = [var.certificate]
}

run "a_parameter_by_its_arn" {
  command = plan

  variables {
    certificate = { certificate_parameter = "arn:aws:ssm:eu-central-1:123456789012:parameter/x", key_parameter = "/edgeward/tls/key", region = "eu-central-1" }
  }

  expect_failures = [var.certificate]
}
