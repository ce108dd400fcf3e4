variable "region" {
  description = "Code of the region; everything regional of this module is made there."
  type        = string

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "Write a region's code such as \"eu-central-1\", not its name (\"Frankfurt\") and not a zone (\"eu-central-1a\")."
  }
}

variable "name" {
  description = "Prefix of the names of what is made here."
  type        = string
  default     = "edgeward"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,15}$", var.name))
    error_message = "Write up to 16 lower-case letters, digits and hyphens, a letter first: load balancers allow no longer names."
  }
}

variable "origin_url" {
  description = "Where the nodes find their origin."
  type        = string

  validation {
    condition     = can(regex("^https://[A-Za-z0-9.-]+(:[0-9]{1,5})?$", var.origin_url))
    error_message = "Write the origin's URL as https://HOST or https://HOST:PORT, with nothing after it: nodes across the internet take releases and directives from it."
  }
}

variable "origin_ca_pin" {
  description = "The pin of the origin's CA, as `edgeward token create` prints it; a node checks it before it says anything. Not a secret."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9_-]{43}$", var.origin_ca_pin))
    error_message = "A pin has 43 characters: the sha256 of the CA's public key in base64url without padding. It is the last part of a join token."
  }
}

variable "origin_nodes_url" {
  description = "Where the origin's door for nodes is; null is port 7743 of the origin's host."
  type        = string
  default     = null

  validation {
    condition     = var.origin_nodes_url == null || can(regex("^https://[A-Za-z0-9.-]+(:[0-9]{1,5})?$", var.origin_nodes_url))
    error_message = "Write the door's URL as https://HOST:PORT, with nothing after it, such as \"https://origin.example.com:7743\"."
  }
}

variable "public_host" {
  description = "The host of the URL at which clients reach a node; `{id}` stands for the id of its instance. Where the name is delegated to the origins, that is `{id}.nodes.` and their zone; behind a balancer it is the name of all. The certificate must be for it."
  type        = string

  validation {
    condition     = can(regex("^([{]id[}][.])?([a-z0-9]([a-z0-9-]*[a-z0-9])?[.])+[a-z]{2,}$", var.public_host))
    error_message = "Write a host's name such as \"ai.example.com\", or \"{id}.nodes.ai.example.com\" for a name of each node."
  }
}

variable "certificate" {
  description = "Where the certificate for clients lies: the names of two parameters (SecureString) in the Parameter Store, PEM without a passphrase, and their region. Made and renewed by you, since its key should not be in a state file."
  type = object({
    certificate_parameter = string
    key_parameter         = string
    region                = string
    kms_key_arn           = optional(string)
  })

  validation {
    condition     = alltrue([for name in [var.certificate.certificate_parameter, var.certificate.key_parameter] : can(regex("^[A-Za-z0-9/_.-]+$", name))])
    error_message = "Write names of parameters such as \"/edgeward/tls/certificate\" and \"/edgeward/tls/key\", not their ARNs."
  }

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.certificate.region))
    error_message = "Write the code of the region that the parameters are in, such as \"eu-central-1\"."
  }
}

variable "instance_profile_arn" {
  description = "Module node-identity's `instance_profile_arn`."
  type        = string

  validation {
    condition     = can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:instance-profile/.+$", var.instance_profile_arn))
    error_message = "Write the ARN of an instance profile: module.identity.instance_profile_arn."
  }
}

variable "place" {
  description = "Where the nodes are, in degrees; the router starts from distances until round trips are measured."
  type = object({
    lat   = number
    lon   = number
    label = optional(string, "")
  })

  validation {
    condition     = var.place.lat >= -90 && var.place.lat <= 90 && var.place.lon >= -180 && var.place.lon <= 180
    error_message = "Write degrees: lat from -90 to 90, lon from -180 to 180, such as { lat = 50.11, lon = 8.68, label = \"Frankfurt\" }."
  }

  validation {
    condition     = can(regex("^[A-Za-z0-9 ._-]{0,60}$", var.place.label))
    error_message = "A label has up to 60 letters, digits, spaces or . _ -"
  }
}

variable "network" {
  description = <<-TEXT
    Either `cidr` for a VPC of its own with a public subnet in each of `zones_count` zones, or an existing one by
    `vpc_id` and `subnet_ids` (public ones, since clients go straight to nodes).
  TEXT
  type = object({
    cidr        = optional(string, "10.64.0.0/20")
    zones_count = optional(number, 2)
    vpc_id      = optional(string)
    subnet_ids  = optional(list(string), [])
  })
  default = {}

  validation {
    condition     = can(cidrnetmask(var.network.cidr)) && try(tonumber(split("/", var.network.cidr)[1]) >= 16 && tonumber(split("/", var.network.cidr)[1]) <= 24, false)
    error_message = "Write `cidr` as an IPv4 network of 16 to 24 bits, such as \"10.64.0.0/20\"."
  }

  validation {
    condition     = var.network.zones_count >= 1 && var.network.zones_count <= 4
    error_message = "Write 1 to 4 zones; some regions have no more than 3."
  }

  validation {
    condition     = (var.network.vpc_id == null) == (length(var.network.subnet_ids) == 0)
    error_message = "An existing network needs both: `vpc_id` and at least one of its subnets in `subnet_ids`."
  }
}

variable "instances" {
  description = "How many nodes, and of what kind; `architecture` must be that of the type."
  type = object({
    type            = optional(string, "c7i.xlarge")
    architecture    = optional(string, "amd64")
    min_count       = optional(number, 1)
    desired_count   = optional(number, 2)
    max_count       = optional(number, 4)
    root_volume_gib = optional(number, 40)
    image_id        = optional(string)
  })
  default = {}

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]*\\.(nano|micro|small|medium|large|[0-9]*xlarge|metal(-[0-9a-z]+)?)$", var.instances.type))
    error_message = "Write an instance type such as \"c7i.xlarge\" (family, dot, size)."
  }

  validation {
    condition     = contains(["amd64", "arm64"], var.instances.architecture)
    error_message = "Write \"amd64\", or \"arm64\" for Graviton types such as \"c8g.xlarge\"."
  }

  validation {
    condition     = var.instances.min_count >= 0 && var.instances.min_count <= var.instances.desired_count && var.instances.desired_count <= var.instances.max_count
    error_message = "Counts go min_count <= desired_count <= max_count."
  }

  validation {
    condition     = var.instances.root_volume_gib >= 16
    error_message = "Write 16 GiB or more: the system takes some, and models lie there."
  }
}

variable "port" {
  description = "Where nodes answer clients."
  type        = number
  default     = 443

  validation {
    condition     = var.port >= 1 && var.port <= 65535
    error_message = "Write a port from 1 to 65535."
  }
}

variable "client_cidrs" {
  description = "Networks whose clients may reach the nodes; IPv4 and IPv6."
  type        = list(string)
  default     = ["0.0.0.0/0", "::/0"]

  validation {
    condition     = length(var.client_cidrs) > 0 && alltrue([for cidr in var.client_cidrs : can(cidrhost(cidr, 0))])
    error_message = "Write at least one network such as \"203.0.113.0/24\" or \"2001:db8::/32\"; \"0.0.0.0/0\" is everybody."
  }
}

variable "follows" {
  description = "Patterns of the model names that the nodes hold."
  type        = list(string)
  default     = ["*"]

  validation {
    condition     = length(var.follows) > 0 && alltrue([for pattern in var.follows : can(regex("^[A-Za-z0-9*?._/\\[\\]!-]+$", pattern))])
    error_message = "Write at least one pattern such as \"*\" or \"chat*\"."
  }
}

variable "load_balancer" {
  description = "Put a network load balancer in front: one name for the whole region, for module geo-dns. The router sends clients to the nodes themselves and needs none."
  type        = bool
  default     = false
}

variable "session_manager" {
  description = "Install the agent of Systems Manager, the only way to a shell: there is no SSH."
  type        = bool
  default     = true
}

variable "alarm_topic_arn" {
  description = "SNS topic of this region that takes the alarms; null only shows them."
  type        = string
  default     = null

  validation {
    condition     = var.alarm_topic_arn == null || can(regex("^arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]{12}:.+$", var.alarm_topic_arn))
    error_message = "Write the ARN of an SNS topic, such as \"arn:aws:sns:eu-central-1:123456789012:alarms\"."
  }
}

variable "tags" {
  description = "Tags of everything that is made here."
  type        = map(string)
  default     = {}
}
