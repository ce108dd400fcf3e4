variable "zone_id" {
  description = "The Route 53 zone that the names go into."
  type        = string

  validation {
    condition     = can(regex("^[A-Z0-9]{7,32}$", var.zone_id))
    error_message = "Write a hosted zone's id such as \"Z0123456789ABCDEFGHIJ\", not its name."
  }
}

variable "name" {
  description = "The name that clients use, inside the zone."
  type        = string

  validation {
    condition     = can(regex("^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\\.)+[a-z]{2,63}$", var.name))
    error_message = "Write a full name in lower case without a dot at its end, such as \"ai.example.com\"."
  }
}

variable "regions" {
  description = "By region's code, the entry of module edge-region (`entry`) and where it answers."
  type = map(object({
    dns_name    = string
    zone_id     = string
    port        = optional(number, 443)
    health_path = optional(string, "/readyz")
  }))
  default = {}

  validation {
    condition     = alltrue([for region in keys(var.regions) : can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", region))])
    error_message = "The keys are region codes such as \"eu-central-1\": Route 53 measures latency to these."
  }
}

variable "origins" {
  description = "By a short name, the IPv4 address (and IPv6, if there is one) of each origin that answers DNS itself (`origin.dns_port = 53`): the name is then delegated to them, and they send each client to the node that answers first."
  type = map(object({
    ipv4 = string
    ipv6 = optional(string)
  }))
  default = {}

  validation {
    condition     = alltrue([for label in keys(var.origins) : can(regex("^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", label))])
    error_message = "The keys become names such as ns-a.ai.example.com: lower-case letters, digits, hyphens."
  }

  validation {
    condition     = alltrue([for origin in values(var.origins) : can(cidrhost("${origin.ipv4}/32", 0)) && (origin.ipv6 == null || can(cidrhost("${coalesce(origin.ipv6, "::1")}/128", 0)))])
    error_message = "Write addresses: ipv4 such as \"203.0.113.10\", ipv6 such as \"2001:db8::10\"."
  }
}

variable "tags" {
  description = "Tags of everything that is made here."
  type        = map(string)
  default     = {}
}
