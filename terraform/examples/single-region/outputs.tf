output "bucket" {
  description = "Set `store.bucket` of publishers and origins to this."
  value       = module.store.bucket
}

output "node_role_arn" {
  description = "Name it in the origin's `admitted_aws_roles`."
  value       = module.identity.role_arn
}

output "autoscaling_group" {
  description = "The group of nodes."
  value       = module.edge.autoscaling_group
}
