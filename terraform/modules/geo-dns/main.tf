# How clients find the network by name. Either origins answer for the name themselves (`origins`), from what the fleet
# has measured; or Route 53 sends each client to the region of least latency by Amazon's measurements (`regions`).

locals {
  delegated = length(var.origins) > 0
  regions   = local.delegated ? {} : var.regions
}

resource "aws_route53_health_check" "this" {
  for_each = local.regions

  type              = "HTTPS"
  fqdn              = each.value.dns_name
  port              = each.value.port
  resource_path     = each.value.health_path
  request_interval  = 10
  failure_threshold = 2
  enable_sni        = true
  tags              = merge(var.tags, { Name = "${var.name} ${each.key}" })
}

resource "aws_route53_record" "latency" {
  # checkov:skip=CKV2_AWS_23:the balancer is made by module edge-region, and handed in
  for_each = local.regions

  zone_id         = var.zone_id
  name            = var.name
  type            = "A"
  set_identifier  = each.key
  health_check_id = aws_route53_health_check.this[each.key].id

  alias {
    name                   = each.value.dns_name
    zone_id                = each.value.zone_id
    evaluate_target_health = true
  }

  latency_routing_policy {
    region = each.key
  }
}

resource "aws_route53_record" "delegation" {
  count = local.delegated ? 1 : 0

  zone_id = var.zone_id
  name    = var.name
  type    = "NS"
  ttl     = 3600
  records = [for label in sort(keys(var.origins)) : "${label}-ns.${var.name}."]

  lifecycle {
    precondition {
      condition     = length(var.regions) == 0
      error_message = "A name is either delegated to `origins` or answered by Route 53 from `regions`: leave one of them out."
    }
  }
}

resource "aws_route53_record" "glue_ipv4" {
  # checkov:skip=CKV2_AWS_23:origins may stand anywhere, not only in AWS
  for_each = var.origins

  zone_id = var.zone_id
  name    = "${each.key}-ns.${var.name}"
  type    = "A"
  ttl     = 3600
  records = [each.value.ipv4]
}

resource "aws_route53_record" "glue_ipv6" {
  for_each = { for label, origin in var.origins : label => origin.ipv6 if origin.ipv6 != null }

  zone_id = var.zone_id
  name    = "${each.key}-ns.${var.name}"
  type    = "AAAA"
  ttl     = 3600
  records = [each.value]
}

# A name with nobody behind it is a mistake that would only show at the client.
resource "terraform_data" "somebody_answers" {
  lifecycle {
    precondition {
      condition     = length(var.regions) + length(var.origins) > 0
      error_message = "Nobody would answer for ${var.name}: give `regions` (module.edge[…].entry) or `origins`."
    }
  }
}
