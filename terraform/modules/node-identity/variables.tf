variable "name" {
  description = "Name of the role and of the instance profile; IAM is global, so once for all regions."
  type        = string
  default     = "edgeward-node"

  validation {
    condition     = can(regex("^[A-Za-z0-9+=,.@_-]{1,64}$", var.name))
    error_message = "A role's name has 1 to 64 letters, digits or any of + = , . @ _ - such as \"edgeward-node\"."
  }
}

variable "artifact_reader_policy_json" {
  description = "Module artifact-store's `reader_policy_json`, for nodes that read the bucket themselves; null when they fetch through origin or CDN, which needs no permission."
  type        = string
  default     = null

  validation {
    condition     = var.artifact_reader_policy_json == null || can(jsondecode(var.artifact_reader_policy_json).Statement)
    error_message = "This is an IAM policy in JSON: pass module.store.reader_policy_json."
  }
}

variable "certificate" {
  description = "The parameters with the certificate for clients, as module edge-region takes them, for nodes to read; `kms_key_arn` where they are encrypted with a key of yours. Null lets nodes read none."
  type = object({
    certificate_parameter = string
    key_parameter         = string
    region                = string
    kms_key_arn           = optional(string)
  })
  default = null

  validation {
    condition     = var.certificate == null || try(alltrue([for name in [var.certificate.certificate_parameter, var.certificate.key_parameter] : can(regex("^[A-Za-z0-9/_.-]+$", name))]), false)
    error_message = "Write names of parameters such as \"/edgeward/tls/certificate\" and \"/edgeward/tls/key\", not their ARNs."
  }

  validation {
    condition     = try(var.certificate.kms_key_arn, null) == null || can(regex("^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/.+$", var.certificate.kms_key_arn))
    error_message = "Write the ARN of a KMS key, such as \"arn:aws:kms:eu-central-1:123456789012:key/…\", not an alias."
  }
}

variable "session_manager" {
  description = "Let operators open a shell through Systems Manager: there is no SSH."
  type        = bool
  default     = true
}

variable "permissions_boundary_arn" {
  description = "ARN of a permissions boundary for the role, where the account demands one."
  type        = string
  default     = null
}

variable "tags" {
  description = "Tags of everything that is made here."
  type        = map(string)
  default     = {}
}
