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
