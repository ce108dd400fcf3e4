output "autoscaling_group" {
  description = "The group of nodes."
  value       = module.edge.autoscaling_group
}

output "name_servers" {
  description = "The origins that answer for the name."
  value       = module.dns.delegated_to
}

output "node_role_arn" {
  description = "Name it in the origin's `admitted_aws_roles`."
  value       = module.identity.role_arn
}
