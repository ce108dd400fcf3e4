output "name" {
  description = "The name that clients use."
  value       = module.dns.name
}

output "bucket" {
  description = "Set `store.bucket` of publishers and origins to this."
  value       = module.store.bucket
}

output "cdn_url" {
  description = "Where nodes fetch releases."
  value       = module.cdn.url
}

output "node_role_arn" {
  description = "Name it in the origin's `admitted_aws_roles`."
  value       = module.identity.role_arn
}

output "groups" {
  description = "By region, the group of nodes."
  value       = { for region, edge in module.edge : region => edge.autoscaling_group }
}
