output "role_arn" {
  description = "ARN of the nodes' role: what an origin lets join."
  value       = aws_iam_role.this.arn
}

output "role_name" {
  description = "Name of the nodes' role, to attach further policies to."
  value       = aws_iam_role.this.name
}

output "instance_profile_arn" {
  description = "ARN of the instance profile, for module edge-region."
  value       = aws_iam_instance_profile.this.arn
}
