# Nodes in a network that you have, for clients of your own networks alone; the name is delegated to your origins.

provider "aws" {
  region = var.region
}

module "identity" {
  source = "../../modules/node-identity"

  certificate = var.certificate
  tags        = local.tags
}

module "edge" {
  source = "../../modules/edge-region"

  region               = var.region
  origin_url           = var.origin_url
  origin_ca_pin        = var.origin_ca_pin
  instance_profile_arn = module.identity.instance_profile_arn
  public_host          = "{id}.nodes.${var.name}"
  certificate          = var.certificate
  place                = var.place
  network              = { vpc_id = var.vpc_id, subnet_ids = var.subnet_ids }
  client_cidrs         = var.client_cidrs
  follows              = ["chat*"]
  tags                 = local.tags
}

module "dns" {
  source = "../../modules/geo-dns"

  zone_id = var.zone_id
  name    = var.name
  origins = var.origins
  tags    = local.tags
}

locals {
  tags = { project = "edgeward" }
}
