variable "region" {
  description = "Code of the region."
  type        = string
  default     = "eu-central-1"
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

variable "place" {
  description = "Where the region is, in degrees."
  type = object({
    lat   = number
    lon   = number
    label = optional(string, "")
  })
  default = { lat = 50.11, lon = 8.68, label = "Frankfurt" }
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

variable "public_host" {
  description = "The host of each node's URL, such as \"{id}.nodes.ai.example.com\" with ai.example.com delegated to the origin; the certificate must be for it."
  type        = string
}
