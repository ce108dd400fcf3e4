# Regions from one map: a bucket and a CDN for all, nodes behind a balancer in each, one name in Route 53.

provider "aws" {
  region = var.home_region
}

module "store" {
  source = "../../modules/artifact-store"

  bucket      = var.bucket
  region      = var.home_region
  key_readers = [module.cdn.distribution_arn]
  tags        = local.tags
}

module "cdn" {
  source = "../../modules/blob-cdn"

  bucket_regional_domain_name = module.store.bucket_regional_domain_name
  tags                        = local.tags
}

module "identity" {
  source = "../../modules/node-identity"

  certificate = var.certificate
  tags        = local.tags
}

module "edge" {
  source   = "../../modules/edge-region"
  for_each = var.regions

  region               = each.key
  origin_url           = var.origin_url
  origin_ca_pin        = var.origin_ca_pin
  instance_profile_arn = module.identity.instance_profile_arn
  public_host          = var.name
  certificate          = var.certificate
  place                = each.value.place
  instances            = each.value.instances
  network              = { cidr = each.value.cidr }
  load_balancer        = true
  tags                 = local.tags
}

module "dns" {
  source = "../../modules/geo-dns"

  zone_id = var.zone_id
  name    = var.name
  regions = { for region, edge in module.edge : region => edge.entry }
  tags    = local.tags
}

locals {
  tags = { project = "edgeward" }
}
