# A group of nodes in one region. An instance that fails is replaced; a new launch template rolls through the group.

data "aws_ssm_parameter" "image" {
  count = var.instances.image_id == null ? 1 : 0

  region = var.region
  name   = "/aws/service/debian/release/12/latest/${var.instances.architecture}"
}

locals {
  origin_nodes_url = coalesce(var.origin_nodes_url, "https://${regex("^https://([^:]+)", var.origin_url)[0]}:7743")

  image_id = var.instances.image_id == null ? data.aws_ssm_parameter.image[0].insecure_value : var.instances.image_id

  user_data = templatefile("${path.module}/user_data.sh.tftpl", {
    region                = var.region
    architecture          = var.instances.architecture
    session_manager       = var.session_manager
    origin_url            = var.origin_url
    origin_nodes_url      = local.origin_nodes_url
    origin_ca_pin         = var.origin_ca_pin
    public_host           = var.public_host
    certificate_parameter = var.certificate.certificate_parameter
    key_parameter         = var.certificate.key_parameter
    parameter_region      = var.certificate.region
    port                  = var.port
    lat                   = var.place.lat
    lon                   = var.place.lon
    label                 = var.place.label
    follows               = jsonencode(var.follows)
  })
}

resource "aws_launch_template" "this" {
  # checkov:skip=CKV_AWS_88:clients go straight to nodes, so a node has a public address; the security group says for what
  region                 = var.region
  name                   = "${var.name}-node"
  description            = "An Edgeward node"
  image_id               = local.image_id
  instance_type          = var.instances.type
  update_default_version = true
  user_data              = base64encode(local.user_data)
  tags                   = var.tags

  iam_instance_profile {
    arn = var.instance_profile_arn
  }

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  block_device_mappings {
    device_name = "/dev/xvda"

    ebs {
      volume_type           = "gp3"
      volume_size           = var.instances.root_volume_gib
      encrypted             = true
      delete_on_termination = true
    }
  }

  network_interfaces {
    associate_public_ip_address = true
    delete_on_termination       = true
    security_groups             = [aws_security_group.this.id]
  }

  monitoring {
    enabled = true
  }

  tag_specifications {
    resource_type = "instance"
    tags          = merge(var.tags, { Name = "${var.name}-node" })
  }

  tag_specifications {
    resource_type = "volume"
    tags          = merge(var.tags, { Name = "${var.name}-node" })
  }
}

resource "aws_autoscaling_group" "this" {
  region                    = var.region
  name                      = "${var.name}-node"
  min_size                  = var.instances.min_count
  desired_capacity          = var.instances.desired_count
  max_size                  = var.instances.max_count
  vpc_zone_identifier       = local.subnet_ids
  target_group_arns         = aws_lb_target_group.this[*].arn
  health_check_type         = var.load_balancer ? "ELB" : "EC2"
  health_check_grace_period = 600
  enabled_metrics           = ["GroupInServiceInstances", "GroupDesiredCapacity"]

  launch_template {
    id      = aws_launch_template.this.id
    version = aws_launch_template.this.latest_version
  }

  instance_refresh {
    strategy = "Rolling"

    preferences {
      min_healthy_percentage = 50
      instance_warmup        = 300
    }
  }

  dynamic "tag" {
    for_each = merge(var.tags, { Name = "${var.name}-node" })

    content {
      key                 = tag.key
      value               = tag.value
      propagate_at_launch = true
    }
  }
}
