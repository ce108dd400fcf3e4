# Releases over a CDN. Objects are immutable and named by their hash, so they are cached for a year; the newest
# timestamp is looked up again every few seconds. Nodes check hashes and signatures: the CDN needs no trust.

locals {
  origin_id = "releases"
}

resource "aws_cloudfront_origin_access_control" "this" {
  name                              = "${var.name}-releases"
  description                       = "Only this distribution reads the bucket"
  origin_access_control_origin_type = "s3"
  signing_behavior                  = "always"
  signing_protocol                  = "sigv4"
}

resource "aws_cloudfront_cache_policy" "immutable" {
  name        = "${var.name}-immutable"
  comment     = "Named by their hash: kept as long as there is room"
  min_ttl     = 86400
  default_ttl = 31536000
  max_ttl     = 31536000

  parameters_in_cache_key_and_forwarded_to_origin {
    enable_accept_encoding_brotli = false
    enable_accept_encoding_gzip   = false

    cookies_config {
      cookie_behavior = "none"
    }

    headers_config {
      header_behavior = "none"
    }

    query_strings_config {
      query_string_behavior = "none"
    }
  }
}

resource "aws_cloudfront_cache_policy" "newest" {
  name        = "${var.name}-newest"
  comment     = "The one object that is replaced"
  min_ttl     = 0
  default_ttl = 5
  max_ttl     = 5

  parameters_in_cache_key_and_forwarded_to_origin {
    enable_accept_encoding_brotli = false
    enable_accept_encoding_gzip   = false

    cookies_config {
      cookie_behavior = "none"
    }

    headers_config {
      header_behavior = "none"
    }

    query_strings_config {
      query_string_behavior = "none"
    }
  }
}

resource "aws_cloudfront_response_headers_policy" "this" {
  name    = "${var.name}-releases"
  comment = "Bytes, never pages"

  security_headers_config {
    content_type_options {
      override = true
    }

    strict_transport_security {
      access_control_max_age_sec = 63072000
      include_subdomains         = true
      preload                    = true
      override                   = true
    }
  }
}

resource "aws_cloudfront_distribution" "this" {
  # checkov:skip=CKV_AWS_68:immutable blobs behind GET and HEAD: there is nothing for a web firewall to look at
  # checkov:skip=CKV2_AWS_47:as above
  # checkov:skip=CKV_AWS_310:nodes have other sources by themselves: peers and the origin
  # checkov:skip=CKV_AWS_374:releases may be fetched from everywhere
  # checkov:skip=CKV_AWS_305:there is no page to show at /
  # checkov:skip=CKV_AWS_86:access logs are written where `log_bucket_domain_name` is given
  # checkov:skip=CKV_AWS_174:the lowest version is TLS 1.2 where a certificate is given; CloudFront's own name allows no choice
  # checkov:skip=CKV2_AWS_42:a certificate of yours is used where `certificate_arn` is given
  enabled             = true
  comment             = "${var.name}: releases"
  is_ipv6_enabled     = true
  http_version        = "http2and3"
  price_class         = var.price_class
  aliases             = var.aliases
  wait_for_deployment = false
  tags                = var.tags

  origin {
    origin_id                = local.origin_id
    domain_name              = var.bucket_regional_domain_name
    origin_access_control_id = aws_cloudfront_origin_access_control.this.id
  }

  default_cache_behavior {
    target_origin_id           = local.origin_id
    viewer_protocol_policy     = "https-only"
    allowed_methods            = ["GET", "HEAD"]
    cached_methods             = ["GET", "HEAD"]
    compress                   = false
    cache_policy_id            = aws_cloudfront_cache_policy.immutable.id
    response_headers_policy_id = aws_cloudfront_response_headers_policy.this.id
  }

  ordered_cache_behavior {
    path_pattern               = "tuf/timestamp.json"
    target_origin_id           = local.origin_id
    viewer_protocol_policy     = "https-only"
    allowed_methods            = ["GET", "HEAD"]
    cached_methods             = ["GET", "HEAD"]
    compress                   = false
    cache_policy_id            = aws_cloudfront_cache_policy.newest.id
    response_headers_policy_id = aws_cloudfront_response_headers_policy.this.id
  }

  # A node looks for the next root by its number: "not there" must not outlive the moment that it is published.
  custom_error_response {
    error_code            = 403
    error_caching_min_ttl = 5
  }

  custom_error_response {
    error_code            = 404
    error_caching_min_ttl = 5
  }

  restrictions {
    geo_restriction {
      restriction_type = "none"
    }
  }

  viewer_certificate {
    cloudfront_default_certificate = var.certificate_arn == null
    acm_certificate_arn            = var.certificate_arn
    ssl_support_method             = var.certificate_arn == null ? null : "sni-only"
    minimum_protocol_version       = var.certificate_arn == null ? "TLSv1" : "TLSv1.2_2021"
  }

  dynamic "logging_config" {
    for_each = var.log_bucket_domain_name == null ? [] : [var.log_bucket_domain_name]

    content {
      bucket          = logging_config.value
      include_cookies = false
      prefix          = "${var.name}/"
    }
  }

  lifecycle {
    precondition {
      condition     = length(var.aliases) == 0 || var.certificate_arn != null
      error_message = "`aliases` need a certificate of yours for these names: set `certificate_arn`."
    }
  }
}
