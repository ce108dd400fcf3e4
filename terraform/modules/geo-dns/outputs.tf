output "name" {
  description = "The name that clients use."
  value       = var.name
}

output "health_check_ids" {
  description = "By region, the health check that takes it out of the answers."
  value       = { for region, check in aws_route53_health_check.this : region => check.id }
}

output "delegated_to" {
  description = "The name servers that answer for the name; empty where Route 53 does."
  value       = [for label in sort(keys(var.origins)) : "${label}-ns.${var.name}"]
}
