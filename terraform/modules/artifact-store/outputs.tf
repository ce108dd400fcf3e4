output "bucket" {
  description = "Name of the bucket."
  value       = aws_s3_bucket.this.id
}

output "bucket_arn" {
  description = "ARN of the bucket."
  value       = aws_s3_bucket.this.arn
}

output "bucket_regional_domain_name" {
  description = "The bucket's own name in its region: the origin of module blob-cdn."
  value       = aws_s3_bucket.this.bucket_regional_domain_name
}

output "kms_key_arn" {
  description = "ARN of the key that encrypts the bucket."
  value       = local.key_arn
}

output "reader_policy_json" {
  description = "IAM policy for those who serve releases: origins that only read, nodes that read the bucket themselves."
  value       = data.aws_iam_policy_document.reader.json
}

output "publisher_policy_json" {
  description = "IAM policy for those who publish: `edgeward publish`, `promote`, `rollback`, `yank`."
  value       = data.aws_iam_policy_document.publisher.json
}

output "collector_policy_json" {
  description = "IAM policy for `edgeward gc`, the only one that may delete."
  value       = data.aws_iam_policy_document.collector.json
}
