# One name for the region: TCP is passed through, so TLS ends at the node and streams are not buffered.

resource "aws_lb" "this" {
  # checkov:skip=CKV_AWS_91:a pass-through balancer logs TLS connections only, and there are none that it ends
  # checkov:skip=CKV_AWS_150:nothing is lost with it; protection would only make `terraform destroy` fail half-way
  # checkov:skip=CKV2_AWS_28:network load balancers take no web ACL
  count = var.load_balancer ? 1 : 0

  region                           = var.region
  name                             = "${var.name}-node"
  load_balancer_type               = "network"
  internal                         = false
  subnets                          = local.subnet_ids
  enable_cross_zone_load_balancing = true
  tags                             = var.tags
}

resource "aws_lb_target_group" "this" {
  # checkov:skip=CKV_AWS_378:TLS is passed through to the node, which ends it
  count = var.load_balancer ? 1 : 0

  region               = var.region
  name                 = "${var.name}-node"
  port                 = var.port
  protocol             = "TCP"
  target_type          = "instance"
  vpc_id               = local.vpc_id
  deregistration_delay = 120
  tags                 = var.tags

  health_check {
    protocol            = "HTTPS"
    path                = "/readyz"
    interval            = 10
    healthy_threshold   = 2
    unhealthy_threshold = 2
  }
}

resource "aws_lb_listener" "this" {
  # checkov:skip=CKV_AWS_2:TLS is passed through to the node, which ends it
  # checkov:skip=CKV_AWS_103:as above
  count = var.load_balancer ? 1 : 0

  region            = var.region
  load_balancer_arn = aws_lb.this[0].arn
  port              = var.port
  protocol          = "TCP"

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.this[0].arn
  }
}
