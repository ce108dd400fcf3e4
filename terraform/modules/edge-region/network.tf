# Public subnets: clients go straight to nodes, and nodes fetch releases by themselves.

data "aws_availability_zones" "available" {
  # checkov:skip=CKV_AWS_394:only the first `zones_count` are used, and subnets are kept by the name of their zone
  count = local.create_network ? 1 : 0

  region = var.region
  state  = "available"

  filter {
    name   = "opt-in-status"
    values = ["opt-in-not-required"]
  }
}

locals {
  create_network = var.network.vpc_id == null
  vpc_id         = local.create_network ? aws_vpc.this[0].id : var.network.vpc_id
  subnet_ids     = local.create_network ? [for key in sort(keys(aws_subnet.this)) : aws_subnet.this[key].id] : var.network.subnet_ids
  zones          = local.create_network ? slice(data.aws_availability_zones.available[0].names, 0, var.network.zones_count) : []
  ipv4_cidrs     = [for cidr in var.client_cidrs : cidr if !strcontains(cidr, ":")]
  ipv6_cidrs     = [for cidr in var.client_cidrs : cidr if strcontains(cidr, ":")]
}

resource "aws_vpc" "this" {
  # checkov:skip=CKV2_AWS_11:flow logs would keep the address of every client; switch them on where a policy demands it
  count = local.create_network ? 1 : 0

  region                           = var.region
  cidr_block                       = var.network.cidr
  assign_generated_ipv6_cidr_block = true
  enable_dns_hostnames             = true
  enable_dns_support               = true
  tags                             = merge(var.tags, { Name = var.name })
}

# What nobody names gets the default group, so it lets nothing through.
resource "aws_default_security_group" "this" {
  count = local.create_network ? 1 : 0

  region = var.region
  vpc_id = local.vpc_id
  tags   = merge(var.tags, { Name = "${var.name}-default-closed" })
}

resource "aws_subnet" "this" {
  # checkov:skip=CKV_AWS_130:nodes are what clients reach, so they have public addresses; the security group says for what
  for_each = { for number, zone in local.zones : zone => number }

  region                          = var.region
  vpc_id                          = local.vpc_id
  availability_zone               = each.key
  cidr_block                      = cidrsubnet(var.network.cidr, 3, each.value)
  ipv6_cidr_block                 = cidrsubnet(aws_vpc.this[0].ipv6_cidr_block, 8, each.value)
  map_public_ip_on_launch         = true
  assign_ipv6_address_on_creation = true
  tags                            = merge(var.tags, { Name = "${var.name}-${each.key}" })
}

resource "aws_internet_gateway" "this" {
  count = local.create_network ? 1 : 0

  region = var.region
  vpc_id = local.vpc_id
  tags   = merge(var.tags, { Name = var.name })
}

resource "aws_route_table" "this" {
  count = local.create_network ? 1 : 0

  region = var.region
  vpc_id = local.vpc_id
  tags   = merge(var.tags, { Name = var.name })
}

resource "aws_route" "ipv4" {
  count = local.create_network ? 1 : 0

  region                 = var.region
  route_table_id         = aws_route_table.this[0].id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = aws_internet_gateway.this[0].id
}

resource "aws_route" "ipv6" {
  count = local.create_network ? 1 : 0

  region                      = var.region
  route_table_id              = aws_route_table.this[0].id
  destination_ipv6_cidr_block = "::/0"
  gateway_id                  = aws_internet_gateway.this[0].id
}

resource "aws_route_table_association" "this" {
  for_each = aws_subnet.this

  region         = var.region
  subnet_id      = each.value.id
  route_table_id = aws_route_table.this[0].id
}

resource "aws_security_group" "this" {
  region      = var.region
  name        = "${var.name}-node"
  description = "Edgeward nodes: clients in, nothing else"
  vpc_id      = local.vpc_id
  tags        = merge(var.tags, { Name = "${var.name}-node" })

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_security_group_rule" "clients" {
  region            = var.region
  type              = "ingress"
  security_group_id = aws_security_group.this.id
  description       = "Clients, and health checks"
  protocol          = "tcp"
  from_port         = var.port
  to_port           = var.port
  cidr_blocks       = local.ipv4_cidrs
  ipv6_cidr_blocks  = local.ipv6_cidrs
}

# Nodes open connections to origin, CDN, peers and the package mirrors; releases and directives are checked by signature.
resource "aws_security_group_rule" "out" {
  for_each = { https = { protocol = "tcp", from = 443, to = 443 }, dns = { protocol = "udp", from = 53, to = 53 }, http = { protocol = "tcp", from = 80, to = 80 }, node = { protocol = "tcp", from = 7700, to = 7799 }, time = { protocol = "udp", from = 123, to = 123 } }

  region            = var.region
  type              = "egress"
  security_group_id = aws_security_group.this.id
  description       = "Out: ${each.key}"
  protocol          = each.value.protocol
  from_port         = each.value.from
  to_port           = each.value.to
  cidr_blocks       = ["0.0.0.0/0"]
  ipv6_cidr_blocks  = ["::/0"]
}
