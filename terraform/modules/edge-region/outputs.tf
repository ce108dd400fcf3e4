output "region" {
  description = "Code of the region."
  value       = var.region
}

output "autoscaling_group" {
  description = "Name of the group of nodes."
  value       = aws_autoscaling_group.this.name
}

output "security_group_id" {
  description = "The nodes' security group, to add rules to."
  value       = aws_security_group.this.id
}

output "vpc_id" {
  description = "The network that the nodes are in."
  value       = local.vpc_id
}

output "subnet_ids" {
  description = "The subnets that the nodes are in."
  value       = local.subnet_ids
}

output "entry" {
  description = "Name and zone of the load balancer, for module geo-dns; null without one."
  value       = var.load_balancer ? { dns_name = aws_lb.this[0].dns_name, zone_id = aws_lb.this[0].zone_id } : null
}

output "port" {
  description = "Where nodes answer clients."
  value       = var.port
}
