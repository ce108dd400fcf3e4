output "bucket" {
  description = "Set `store.bucket` of publishers and origins to this."
  value       = module.store.bucket
}

output "node_role_arn" {
  description = "Let the origin admit nodes of this role."
  value       = module.identity.role_arn
}

output "autoscaling_group" {
  description = "The group of nodes."
  value       = module.edge.autoscaling_group
}
