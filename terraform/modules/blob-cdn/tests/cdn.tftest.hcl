mock_provider "aws" {
  override_during = plan

  mock_resource "aws_cloudfront_distribution" {
    defaults = { arn = "arn:aws:cloudfront::123456789012:distribution/E1ABCDEF", domain_name = "d111111abcdef8.cloudfront.net" }
  }
}

variables {
  bucket_regional_domain_name = "releases.s3.eu-central-1.amazonaws.com"
}

run "blobs_stay_a_year_and_the_newest_seconds" {
  command = plan

  assert {
    condition     = aws_cloudfront_cache_policy.immutable.default_ttl == 31536000 && aws_cloudfront_cache_policy.newest.max_ttl <= 5
    error_message = "Blobs are fetched again, or a new release stays unseen."
  }

  assert {
    condition     = one(aws_cloudfront_distribution.this.ordered_cache_behavior).path_pattern == "tuf/timestamp.json"
    error_message = "The newest timestamp is kept like a blob."
  }
}

run "tls_only_and_read_only" {
  command = plan

  assert {
    condition     = one(aws_cloudfront_distribution.this.default_cache_behavior).viewer_protocol_policy == "https-only" && one(aws_cloudfront_distribution.this.default_cache_behavior).allowed_methods == toset(["GET", "HEAD"])
    error_message = "Plain HTTP, or a method that writes, is let in."
  }
}

run "only_the_distribution_reads_the_bucket" {
  command = plan

  assert {
    condition     = aws_cloudfront_origin_access_control.this.signing_behavior == "always"
    error_message = "The bucket would have to be public."
  }
}

run "an_answer_that_something_is_missing_is_soon_forgotten" {
  command = plan

  assert {
    condition     = alltrue([for answer in aws_cloudfront_distribution.this.custom_error_response : answer.error_caching_min_ttl <= 5])
    error_message = "A new root stays unseen for minutes."
  }
}

run "clouds_own_name" {
  command = plan

  assert {
    condition     = output.url == "https://d111111abcdef8.cloudfront.net"
    error_message = "The URL is not the distribution's."
  }
}

run "a_name_of_yours" {
  command = plan

  variables {
    aliases         = ["blobs.example.com"]
    certificate_arn = "arn:aws:acm:us-east-1:123456789012:certificate/1"
  }

  assert {
    condition     = output.url == "https://blobs.example.com" && one(aws_cloudfront_distribution.this.viewer_certificate).minimum_protocol_version == "TLSv1.2_2021"
    error_message = "The name or its TLS is not as asked."
  }
}

run "a_name_without_a_certificate" {
  command = plan

  variables {
    aliases = ["blobs.example.com"]
  }

  expect_failures = [aws_cloudfront_distribution.this]
}

run "a_certificate_of_another_region" {
  command = plan

  variables {
    certificate_arn = "arn:aws:acm:eu-central-1:123456789012:certificate/1"
  }

  expect_failures = [var.certificate_arn]
}

run "a_bucket_by_its_bare_name" {
  command = plan

  variables {
    bucket_regional_domain_name = "releases"
  }

  expect_failures = [var.bucket_regional_domain_name]
}

run "a_price_class_that_is_none" {
  command = plan

  variables {
    price_class = "cheap"
  }

  expect_failures = [var.price_class]
}
