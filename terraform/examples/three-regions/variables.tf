variable "home_region" {
  description = "Where the bucket lies."
  type        = string
  default     = "eu-central-1"
}

variable "regions" {
  description = "By region's code, where it is and what runs there. The networks must not overlap if you ever join them."
  type = map(object({
    place = object({
      lat   = number
      lon   = number
      label = optional(string, "")
    })
    cidr = string
    instances = optional(object({
      type            = optional(string, "c7i.xlarge")
      architecture    = optional(string, "amd64")
      min_count       = optional(number, 1)
      desired_count   = optional(number, 2)
      max_count       = optional(number, 4)
      root_volume_gib = optional(number, 40)
      image_id        = optional(string)
    }), {})
  }))
  default = {
    eu-central-1   = { place = { lat = 50.11, lon = 8.68, label = "Frankfurt" }, cidr = "10.64.0.0/20" }
    us-east-1      = { place = { lat = 39.04, lon = -77.49, label = "Virginia" }, cidr = "10.65.0.0/20" }
    ap-southeast-1 = { place = { lat = 1.35, lon = 103.82, label = "Singapore" }, cidr = "10.66.0.0/20" }
  }

  validation {
    condition     = length(var.regions) > 0
    error_message = "Write at least one region, such as { eu-central-1 = { place = { lat = 50.11, lon = 8.68 }, cidr = \"10.64.0.0/20\" } }."
  }

  validation {
    condition     = length(distinct([for region in values(var.regions) : region.cidr])) == length(var.regions)
    error_message = "Two regions have the same `cidr`; give each its own, such as 10.64.0.0/20, 10.65.0.0/20 and so on."
  }
}

variable "bucket" {
  description = "Name of the bucket for releases, unique in all of AWS."
  type        = string
}

variable "origin_url" {
  description = "Where the nodes find their origin."
  type        = string
}

variable "origin_ca_pin" {
  description = "The pin of the origin's CA: the last part of any join token. Not a secret."
  type        = string
}

variable "zone_id" {
  description = "The Route 53 zone that the name goes into."
  type        = string
}

variable "name" {
  description = "The name that clients use, inside the zone."
  type        = string
}

variable "certificate" {
  description = "The parameters (SecureString) with the certificate for clients and its key, PEM, and their region."
  type = object({
    certificate_parameter = string
    key_parameter         = string
    region                = string
    kms_key_arn           = optional(string)
  })
}
