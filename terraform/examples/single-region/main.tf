# One region: a bucket for releases, and two nodes that clients reach at their own addresses.

provider "aws" {
  region = var.region
}

module "store" {
  source = "../../modules/artifact-store"

  bucket = var.bucket
  tags   = local.tags
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
  public_host          = var.public_host
  certificate          = var.certificate
  place                = var.place
  tags                 = local.tags
}

locals {
  tags = { project = "edgeward" }
}
