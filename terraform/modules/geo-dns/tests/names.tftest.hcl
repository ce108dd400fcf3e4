mock_provider "aws" {
  override_during = plan

  mock_resource "aws_route53_health_check" {
    defaults = { id = "check-1" }
  }
}

variables {
  zone_id = "Z0123456789ABCDEFGHIJ"
  name    = "ai.example.com"
}

run "each_region_by_latency_while_it_is_healthy" {
  command = plan

  variables {
    regions = {
      eu-central-1 = { dns_name = "eu.elb.amazonaws.com", zone_id = "Z1" }
      us-east-1    = { dns_name = "us.elb.amazonaws.com", zone_id = "Z2" }
    }
  }

  assert {
    condition     = length(aws_route53_record.latency) == 2 && aws_route53_record.latency["us-east-1"].latency_routing_policy[0].region == "us-east-1"
    error_message = "A region has no record of its own."
  }

  assert {
    condition     = alltrue([for record in aws_route53_record.latency : record.health_check_id != null && record.alias[0].evaluate_target_health])
    error_message = "A region that is down keeps getting clients."
  }

  assert {
    condition     = alltrue([for check in aws_route53_health_check.this : check.type == "HTTPS" && check.resource_path == "/readyz"])
    error_message = "Health is not what the nodes say."
  }
}

run "origins_answer_for_themselves" {
  command = plan

  variables {
    origins = {
      a = { ipv4 = "203.0.113.10", ipv6 = "2001:db8::10" }
      b = { ipv4 = "203.0.113.11" }
    }
  }

  assert {
    condition     = aws_route53_record.delegation[0].type == "NS" && aws_route53_record.delegation[0].records == toset(["a-ns.ai.example.com.", "b-ns.ai.example.com."])
    error_message = "The name is not delegated to all origins."
  }

  assert {
    condition     = length(aws_route53_record.glue_ipv4) == 2 && length(aws_route53_record.glue_ipv6) == 1
    error_message = "An origin has no address."
  }

  assert {
    condition     = length(aws_route53_record.latency) == 0 && length(aws_route53_health_check.this) == 0
    error_message = "Route 53 answers, too."
  }
}

run "nobody_answers" {
  command = plan

  expect_failures = [terraform_data.somebody_answers]
}

run "both_answer" {
  command = plan

  variables {
    regions = { eu-central-1 = { dns_name = "eu.elb.amazonaws.com", zone_id = "Z1" } }
    origins = { a = { ipv4 = "203.0.113.10" } }
  }

  expect_failures = [aws_route53_record.delegation]
}

run "a_zone_by_its_name" {
  command = plan

  variables {
    zone_id = "example.com"
    origins = { a = { ipv4 = "203.0.113.10" } }
  }

  expect_failures = [var.zone_id]
}

run "a_name_with_a_dot_at_its_end" {
  command = plan

  variables {
    name    = "ai.example.com."
    origins = { a = { ipv4 = "203.0.113.10" } }
  }

  expect_failures = [var.name]
}

run "a_region_by_its_city" {
  command = plan

  variables {
    regions = { Frankfurt = { dns_name = "eu.elb.amazonaws.com", zone_id = "Z1" } }
  }

  expect_failures = [var.regions]
}

run "an_address_that_is_none" {
  command = plan

  variables {
    origins = { a = { ipv4 = "origin.example.com" } }
  }

  expect_failures = [var.origins]
}
