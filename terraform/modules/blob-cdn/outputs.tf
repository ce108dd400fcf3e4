output "url" {
  description = "Where nodes fetch releases."
  value       = "https://${length(var.aliases) > 0 ? var.aliases[0] : aws_cloudfront_distribution.this.domain_name}"
}

output "distribution_arn" {
  description = "ARN of the distribution, for module artifact-store's `key_readers`."
  value       = aws_cloudfront_distribution.this.arn
}
