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
