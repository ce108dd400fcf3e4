variable "bucket" {
  description = "Name of the bucket, unique in all of AWS."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", var.bucket))
    error_message = "A bucket's name has 3 to 63 characters: lower-case letters, digits and hyphens, neither first nor last a hyphen. Write one such as \"example-edgeward-releases\"."
  }
}

variable "region" {
  description = "Where the bucket lies; null takes the provider's region."
  type        = string
  default     = null

  validation {
    condition     = var.region == null || can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "Write a region's code such as \"eu-central-1\", or leave it out for the provider's region."
  }
}

variable "kms_key_arn" {
  description = "ARN of a KMS key to encrypt with; null makes one for this bucket."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/.+$", var.kms_key_arn))
    error_message = "Write the ARN of a key, such as \"arn:aws:kms:eu-central-1:123456789012:key/…\" (not an alias), or leave it out to have one made."
  }
}

variable "key_readers" {
  description = "ARNs of CDN distributions that may decrypt with the key that is made here (module blob-cdn's `distribution_arn`)."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for arn in var.key_readers : can(regex("^arn:aws[a-z-]*:cloudfront::[0-9]{12}:distribution/[A-Z0-9*]+$", arn))])
    error_message = "Each is the ARN of a CloudFront distribution, such as \"arn:aws:cloudfront::123456789012:distribution/E123…\"."
  }
}

variable "replaced_metadata_days" {
  description = "How long older versions of an object are kept after they were replaced or deleted: the time to undo a mistake."
  type        = number
  default     = 30

  validation {
    condition     = var.replaced_metadata_days >= 1 && floor(var.replaced_metadata_days) == var.replaced_metadata_days
    error_message = "Write whole days, 1 or more."
  }
}

variable "access_log_bucket" {
  description = "Bucket that takes the server access logs; null writes none."
  type        = string
  default     = null
}

variable "force_destroy" {
  description = "Let `terraform destroy` delete the bucket with all releases in it."
  type        = bool
  default     = false
}

variable "tags" {
  description = "Tags of everything that is made here."
  type        = map(string)
  default     = {}
}
