variable "region" {
  description = "Code of the region that the network is in."
  type        = string
}

variable "vpc_id" {
  description = "Your network."
  type        = string
}

variable "subnet_ids" {
  description = "Its public subnets."
  type        = list(string)
}

variable "client_cidrs" {
  description = "Networks whose clients may reach the nodes."
  type        = list(string)
}

variable "place" {
  description = "Where the region is, in degrees."
  type = object({
    lat   = number
    lon   = number
    label = optional(string, "")
  })
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

variable "origins" {
  description = "The origins that answer DNS, by a short name."
  type = map(object({
    ipv4 = string
    ipv6 = optional(string)
  }))
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
