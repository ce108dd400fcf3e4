mock_provider "aws" {
  override_during = plan

  mock_data "aws_availability_zones" {
    defaults = { names = ["eu-central-1a", "eu-central-1b", "eu-central-1c"] }
  }

  mock_data "aws_ssm_parameter" {
    defaults = { insecure_value = "ami-0123456789abcdef0" }
  }

  mock_resource "aws_vpc" {
    defaults = { id = "vpc-1", ipv6_cidr_block = "2001:db8:1234::/56" }
  }

  mock_resource "aws_launch_template" {
    defaults = { id = "lt-1", latest_version = 3, key_name = "" }
  }

  mock_resource "aws_lb" {
    defaults = { arn = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:loadbalancer/net/edgeward/1", dns_name = "edgeward.elb.eu-central-1.amazonaws.com", zone_id = "Z3F0SRJ5LGBH90", arn_suffix = "net/edgeward/1" }
  }

  mock_resource "aws_lb_target_group" {
    defaults = { arn = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/edgeward/1", arn_suffix = "targetgroup/edgeward/1" }
  }
}

variables {
  region               = "eu-central-1"
  origin_url           = "https://origin.example.com"
  origin_ca_pin        = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
  instance_profile_arn = "arn:aws:iam::123456789012:instance-profile/edgeward-node"
  place                = { lat = 50.11, lon = 8.68, label = "Frankfurt" }
  public_host          = "{id}.nodes.ai.example.com"
  certificate          = { certificate_parameter = "/edgeward/tls/certificate", key_parameter = "/edgeward/tls/key", region = "eu-central-1" }
}

run "metadata_only_with_a_token" {
  command = plan

  assert {
    condition     = aws_launch_template.this.metadata_options[0].http_tokens == "required" && aws_launch_template.this.metadata_options[0].http_put_response_hop_limit == 1
    error_message = "IMDSv1, or a container, could read the instance's identity."
  }
}

run "disks_are_encrypted" {
  command = plan

  assert {
    condition     = aws_launch_template.this.block_device_mappings[0].ebs[0].encrypted == "true"
    error_message = "The disk is not encrypted."
  }
}

run "no_ssh_anywhere" {
  command = plan

  assert {
    condition     = aws_security_group_rule.clients.from_port == 443 && aws_security_group_rule.clients.to_port == 443
    error_message = "More than the clients' port is open."
  }

  assert {
    condition     = aws_launch_template.this.key_name == ""
    error_message = "There is a key for SSH."
  }
}

run "user_data_joins_by_identity_and_has_no_secret" {
  command = plan

  assert {
    condition     = strcontains(base64decode(aws_launch_template.this.user_data), "--join aws-iam --ca-pin \"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\" --origin \"https://origin.example.com\"")
    error_message = "The node does not join by its identity."
  }

  assert {
    condition     = !strcontains(base64decode(aws_launch_template.this.user_data), "ejt1.") && !strcontains(base64decode(aws_launch_template.this.user_data), "PRIVATE") && !strcontains(base64decode(aws_launch_template.this.user_data), "insecure")
    error_message = "A join token or a key is in the user data, or TLS is off."
  }

  assert {
    condition     = length(base64decode(aws_launch_template.this.user_data)) < 16384
    error_message = "User data are longer than EC2 takes."
  }
}

run "the_node_says_where_it_is" {
  command = plan

  assert {
    condition     = strcontains(base64decode(aws_launch_template.this.user_data), "place = \"50.11,8.68\"") && strcontains(base64decode(aws_launch_template.this.user_data), "label = \"Frankfurt\"")
    error_message = "The node does not know its place."
  }
}

run "the_door_for_nodes_is_at_the_origins_host" {
  command = plan

  assert {
    condition     = strcontains(base64decode(aws_launch_template.this.user_data), "origin = \"https://origin.example.com:7743\"")
    error_message = "The node reports elsewhere than at the origin's door."
  }
}

run "or_where_it_is_said_to_be" {
  command = plan

  variables {
    origin_url       = "https://origin.example.com:8443"
    origin_nodes_url = "https://door.example.com:9443"
  }

  assert {
    condition     = strcontains(base64decode(aws_launch_template.this.user_data), "--nodes-origin \"https://door.example.com:9443\"") && strcontains(base64decode(aws_launch_template.this.user_data), "\"https://origin.example.com:8443/install.sh\"")
    error_message = "The URLs went to the wrong places."
  }
}

run "the_certificate_comes_out_of_the_parameter_store" {
  command = plan

  assert {
    condition     = strcontains(base64decode(aws_launch_template.this.user_data), "edgeward node certificate --certificate-parameter /edgeward/tls/certificate --key-parameter /edgeward/tls/key --parameter-region eu-central-1\n") && strcontains(base64decode(aws_launch_template.this.user_data), "'{id}.nodes.ai.example.com'")
    error_message = "The node has no certificate, or no name."
  }
}

run "two_zones_of_a_network_of_its_own" {
  command = plan

  assert {
    condition     = length(aws_subnet.this) == 2 && toset([for subnet in aws_subnet.this : subnet.cidr_block]) == toset(["10.64.0.0/23", "10.64.2.0/23"])
    error_message = "The subnets are not the first two of the network."
  }

  assert {
    condition     = alltrue([for subnet in aws_subnet.this : subnet.region == "eu-central-1"])
    error_message = "A subnet is in another region."
  }
}

run "an_existing_network_is_left_as_it_is" {
  command = plan

  variables {
    network = { vpc_id = "vpc-99", subnet_ids = ["subnet-1", "subnet-2"] }
  }

  assert {
    condition     = length(aws_vpc.this) == 0 && length(aws_subnet.this) == 0 && length(aws_internet_gateway.this) == 0 && length(aws_default_security_group.this) == 0
    error_message = "Something was made in a network that is not ours."
  }

  assert {
    condition     = aws_autoscaling_group.this.vpc_zone_identifier == toset(["subnet-1", "subnet-2"]) && aws_security_group.this.vpc_id == "vpc-99"
    error_message = "The nodes are not in the given subnets."
  }
}

run "no_balancer_by_itself" {
  command = plan

  assert {
    condition     = length(aws_lb.this) == 0 && output.entry == null && aws_autoscaling_group.this.health_check_type == "EC2"
    error_message = "A balancer that nobody asked for costs money."
  }
}

run "a_balancer_passes_tls_through" {
  command = plan

  variables {
    load_balancer = true
  }

  assert {
    condition     = aws_lb_listener.this[0].protocol == "TCP" && aws_lb_target_group.this[0].protocol == "TCP"
    error_message = "The balancer ends TLS."
  }

  assert {
    condition     = aws_lb_target_group.this[0].health_check[0].path == "/readyz" && aws_autoscaling_group.this.health_check_type == "ELB"
    error_message = "A node that is not ready keeps getting clients."
  }

  assert {
    condition     = output.entry.dns_name == "edgeward.elb.eu-central-1.amazonaws.com"
    error_message = "The region's entry is not the balancer."
  }
}

run "clients_of_both_families" {
  command = plan

  variables {
    client_cidrs = ["203.0.113.0/24", "2001:db8::/32"]
  }

  assert {
    condition     = aws_security_group_rule.clients.cidr_blocks == tolist(["203.0.113.0/24"]) && aws_security_group_rule.clients.ipv6_cidr_blocks == tolist(["2001:db8::/32"])
    error_message = "The networks went to the wrong family."
  }
}

run "alarms_go_to_the_topic" {
  command = plan

  variables {
    alarm_topic_arn = "arn:aws:sns:eu-central-1:123456789012:alarms"
    load_balancer   = true
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.too_few_nodes.alarm_actions == toset(["arn:aws:sns:eu-central-1:123456789012:alarms"]) && length(aws_cloudwatch_metric_alarm.unhealthy_nodes) == 1
    error_message = "Nobody hears the alarms."
  }
}

run "arm_takes_an_image_for_arm" {
  command = plan

  variables {
    instances = { type = "c8g.xlarge", architecture = "arm64" }
  }

  assert {
    condition     = data.aws_ssm_parameter.image[0].name == "/aws/service/debian/release/12/latest/arm64"
    error_message = "The image is for another processor."
  }
}

run "an_image_of_yours" {
  command = plan

  variables {
    instances = { image_id = "ami-0aaaaaaaaaaaaaaaa" }
  }

  assert {
    condition     = aws_launch_template.this.image_id == "ami-0aaaaaaaaaaaaaaaa" && length(data.aws_ssm_parameter.image) == 0
    error_message = "The given image is not used."
  }
}

run "a_new_template_rolls" {
  command = plan

  assert {
    condition     = aws_autoscaling_group.this.instance_refresh[0].strategy == "Rolling" && aws_autoscaling_group.this.instance_refresh[0].preferences[0].min_healthy_percentage >= 50
    error_message = "All nodes would be replaced at once."
  }
}

run "a_city_instead_of_a_region" {
  command = plan

  variables {
    region = "Frankfurt"
  }

  expect_failures = [var.region]
}

run "a_zone_instead_of_a_region" {
  command = plan

  variables {
    region = "eu-central-1a"
  }

  expect_failures = [var.region]
}

run "an_origin_without_tls" {
  command = plan

  variables {
    origin_url = "http://origin.example.com"
  }

  expect_failures = [var.origin_url]
}

run "a_pin_cut_short" {
  command = plan

  variables {
    origin_ca_pin = "AAAA"
  }

  expect_failures = [var.origin_ca_pin]
}

run "a_door_without_tls" {
  command = plan

  variables {
    origin_nodes_url = "http://origin.example.com:7743"
  }

  expect_failures = [var.origin_nodes_url]
}

run "an_address_instead_of_a_host" {
  command = plan

  variables {
    public_host = "203.0.113.7"
  }

  expect_failures = [var.public_host]
}

run "a_host_that_would_run_something" {
  command = plan

  variables {
    public_host = "a.example.com'; reboot; '"
  }

  expect_failures = [var.public_host]
}

run "the_arn_of_a_parameter" {
  command = plan

  variables {
    certificate = { certificate_parameter = "arn:aws:ssm:eu-central-1:123456789012:parameter/x", key_parameter = "/edgeward/tls/key", region = "eu-central-1" }
  }

  expect_failures = [var.certificate]
}

run "parameters_in_a_zone" {
  command = plan

  variables {
    certificate = { certificate_parameter = "/edgeward/tls/certificate", key_parameter = "/edgeward/tls/key", region = "eu-central-1a" }
  }

  expect_failures = [var.certificate]
}

run "a_role_instead_of_a_profile" {
  command = plan

  variables {
    instance_profile_arn = "arn:aws:iam::123456789012:role/edgeward-node"
  }

  expect_failures = [var.instance_profile_arn]
}

run "degrees_the_wrong_way_round" {
  command = plan

  variables {
    place = { lat = 139.69, lon = 35.68 }
  }

  expect_failures = [var.place]
}

run "a_label_that_would_break_the_file" {
  command = plan

  variables {
    place = { lat = 1, lon = 1, label = "a\"\nhost = \"x" }
  }

  expect_failures = [var.place]
}

run "a_network_that_is_none" {
  command = plan

  variables {
    network = { cidr = "10.64.0.0" }
  }

  expect_failures = [var.network]
}

run "a_network_too_small" {
  command = plan

  variables {
    network = { cidr = "10.64.0.0/28" }
  }

  expect_failures = [var.network]
}

run "half_an_existing_network" {
  command = plan

  variables {
    network = { vpc_id = "vpc-99" }
  }

  expect_failures = [var.network]
}

run "an_instance_type_that_is_none" {
  command = plan

  variables {
    instances = { type = "xlarge" }
  }

  expect_failures = [var.instances]
}

run "counts_out_of_order" {
  command = plan

  variables {
    instances = { min_count = 3, desired_count = 2 }
  }

  expect_failures = [var.instances]
}

run "nobody_may_connect" {
  command = plan

  variables {
    client_cidrs = []
  }

  expect_failures = [var.client_cidrs]
}

run "a_client_address_without_a_mask" {
  command = plan

  variables {
    client_cidrs = ["203.0.113.7"]
  }

  expect_failures = [var.client_cidrs]
}

run "a_port_that_is_none" {
  command = plan

  variables {
    port = 70000
  }

  expect_failures = [var.port]
}

run "a_topic_that_is_none" {
  command = plan

  variables {
    alarm_topic_arn = "alarms"
  }

  expect_failures = [var.alarm_topic_arn]
}

run "a_name_too_long" {
  command = plan

  variables {
    name = "edgeward-of-a-very-large-company"
  }

  expect_failures = [var.name]
}
