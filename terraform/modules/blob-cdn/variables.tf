variable "name" {
  description = "What the distribution is called in its comment and in the names of its policies."
  type        = string
  default     = "edgeward"

  validation {
    condition     = can(regex("^[A-Za-z0-9_-]{1,64}$", var.name))
    error_message = "Write 1 to 64 letters, digits, hyphens or underscores."
  }
}

variable "bucket_regional_domain_name" {
  description = "Module artifact-store's `bucket_regional_domain_name`."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9.-]+\\.s3[.-][a-z0-9-]+\\.amazonaws\\.com(\\.cn)?$", var.bucket_regional_domain_name))
    error_message = "Write the bucket's name in its region, such as \"example.s3.eu-central-1.amazonaws.com\": module.store.bucket_regional_domain_name."
  }
}

variable "aliases" {
  description = "Names of yours that the distribution answers to; they need `certificate_arn`."
  type        = list(string)
  default     = []
}

variable "certificate_arn" {
  description = "ARN of a certificate in us-east-1 for `aliases`; null answers to CloudFront's own name."
  type        = string
  default     = null

  validation {
    condition     = var.certificate_arn == null || can(regex("^arn:aws[a-z-]*:acm:us-east-1:[0-9]{12}:certificate/.+$", var.certificate_arn))
    error_message = "CloudFront takes certificates of us-east-1 alone: write an ARN such as \"arn:aws:acm:us-east-1:123456789012:certificate/…\"."
  }
}

variable "price_class" {
  description = "Which of CloudFront's places are used."
  type        = string
  default     = "PriceClass_All"

  validation {
    condition     = contains(["PriceClass_100", "PriceClass_200", "PriceClass_All"], var.price_class)
    error_message = "Write PriceClass_100, PriceClass_200 or PriceClass_All."
  }
}

variable "log_bucket_domain_name" {
  description = "Domain name of the bucket that takes access logs; null writes none."
  type        = string
  default     = null
}

variable "tags" {
  description = "Tags of everything that is made here."
  type        = map(string)
  default     = {}
}
