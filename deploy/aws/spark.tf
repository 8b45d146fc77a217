resource "aws_emrserverless_application" "spark" {
  name          = var.name
  release_label = var.emr_release
  type          = "SPARK"
  architecture  = "ARM64"

  maximum_capacity {
    cpu    = "${var.spark_most_vcpu} vCPU"
    memory = "${var.spark_most_vcpu * 8} GB"
  }

  auto_start_configuration {
    enabled = true
  }

  auto_stop_configuration {
    enabled              = true
    idle_timeout_minutes = 15
  }

  network_configuration {
    subnet_ids         = [for zone in local.zones : aws_subnet.private[zone].id]
    security_group_ids = [aws_security_group.part["spark"].id]
  }
}
