resource "aws_ecr_repository" "platform" {
  name                 = var.name
  image_tag_mutability = "IMMUTABLE"

  image_scanning_configuration {
    scan_on_push = true
  }

  encryption_configuration {
    encryption_type = "KMS"
    kms_key         = aws_kms_key.data.arn
  }
}

resource "aws_cloudwatch_log_group" "part" {
  for_each          = toset(["dagster", "kafka"])
  name              = "/${var.name}/${each.key}"
  retention_in_days = var.log_retention_days
  kms_key_id        = aws_kms_key.data.arn
}

resource "aws_ecs_cluster" "main" {
  name = var.name

  setting {
    name  = "containerInsights"
    value = "enabled"
  }
}

# Gives the code server the name `code`, as in docker/compose.yaml and docker/workspace.yaml.
resource "aws_service_discovery_http_namespace" "main" {
  name = var.name
}

locals {
  # The commands and health checks of docker/compose.yaml; a test compares them.
  services = {
    code = {
      role    = "code"
      cpu     = var.code_cpu
      memory  = var.code_memory_mib
      command = ["serve", "code", "--host", "0.0.0.0", "--port", "4000"]
      health  = ["CMD", "dagster", "api", "grpc-health-check", "--host", "127.0.0.1", "--port", "4000"]
      ports   = [{ name = "grpc", containerPort = 4000, protocol = "tcp" }]
    }
    webserver = {
      role    = "control"
      cpu     = 512
      memory  = 2048
      command = ["serve", "webserver", "--host", "0.0.0.0", "--port", "3000"]
      health  = ["CMD", "python", "-c", "import urllib.request as r; r.urlopen(\"http://127.0.0.1:3000/server_info\", timeout=10)"]
      ports   = [{ name = "ui", containerPort = 3000, protocol = "tcp" }]
    }
    daemon = {
      role    = "control"
      cpu     = 512
      memory  = 2048
      command = ["serve", "daemon"]
      health  = ["CMD", "dagster-daemon", "liveness-check"]
      ports   = []
    }
  }
}

resource "aws_ecs_task_definition" "service" {
  for_each                 = local.services
  family                   = "${var.name}-${each.key}"
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = each.value.cpu
  memory                   = each.value.memory
  execution_role_arn       = aws_iam_role.part["execution"].arn
  task_role_arn            = aws_iam_role.part[each.value.role].arn

  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = "X86_64"
  }

  volume {
    name = "state"

    efs_volume_configuration {
      file_system_id     = aws_efs_file_system.state.id
      transit_encryption = "ENABLED"

      authorization_config {
        access_point_id = aws_efs_access_point.state.id
        iam             = "ENABLED"
      }
    }
  }

  container_definitions = jsonencode([{
    name         = each.key
    image        = var.image
    essential    = true
    command      = each.value.command
    portMappings = each.value.ports
    environment  = [for name, value in module.plan.environment[each.value.role] : { name = name, value = value }]
    secrets      = [for name, arn in module.plan.secrets[each.value.role] : { name = name, valueFrom = arn }]
    mountPoints  = [{ sourceVolume = "state", containerPath = "/var/lib/retail", readOnly = false }]
    # Its own init, for what dead processes leave behind. A read-only root, as in compose.yaml, is not to be had together
    # with sessions, by which people reach the UI.
    linuxParameters = { initProcessEnabled = true, capabilities = { drop = ["ALL"] } }
    stopTimeout     = 120
    healthCheck     = { command = each.value.health, interval = 60, timeout = 30, retries = 3, startPeriod = 180 }
    logConfiguration = {
      logDriver = "awslogs"
      options = {
        awslogs-group         = aws_cloudwatch_log_group.part["dagster"].name
        awslogs-region        = var.region
        awslogs-stream-prefix = each.key
      }
    }
  }])
}

# Two code servers would both carry streams, two daemons would fight: the old one ends before the new one starts. So there is
# nothing to spread over zones, which ECS would begin with a second one.
resource "aws_ecs_service" "code" {
  name                               = "code"
  cluster                            = aws_ecs_cluster.main.id
  task_definition                    = aws_ecs_task_definition.service["code"].arn
  launch_type                        = "FARGATE"
  desired_count                      = 1
  enable_execute_command             = true
  propagate_tags                     = "SERVICE"
  wait_for_steady_state              = true
  deployment_minimum_healthy_percent = 0
  deployment_maximum_percent         = 100
  availability_zone_rebalancing      = "DISABLED"

  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  network_configuration {
    subnets          = [for zone in local.zones : aws_subnet.private[zone].id]
    security_groups  = [aws_security_group.part["code"].id]
    assign_public_ip = false
  }

  service_connect_configuration {
    enabled   = true
    namespace = aws_service_discovery_http_namespace.main.arn

    service {
      port_name      = "grpc"
      discovery_name = "code"

      client_alias {
        dns_name = "code"
        port     = 4000
      }
    }
  }

  depends_on = [aws_iam_role_policy.part, aws_efs_mount_target.state, aws_msk_single_scram_secret_association.platform]
}

# After the code server: a task knows only the names that were there when it started.
resource "aws_ecs_service" "client" {
  for_each                           = toset(["webserver", "daemon"])
  name                               = each.key
  cluster                            = aws_ecs_cluster.main.id
  task_definition                    = aws_ecs_task_definition.service[each.key].arn
  launch_type                        = "FARGATE"
  desired_count                      = 1
  enable_execute_command             = true
  propagate_tags                     = "SERVICE"
  deployment_minimum_healthy_percent = 0
  deployment_maximum_percent         = 100
  availability_zone_rebalancing      = "DISABLED"

  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  network_configuration {
    subnets          = [for zone in local.zones : aws_subnet.private[zone].id]
    security_groups  = [aws_security_group.part["control"].id]
    assign_public_ip = false
  }

  service_connect_configuration {
    enabled   = true
    namespace = aws_service_discovery_http_namespace.main.arn
  }

  depends_on = [aws_ecs_service.code]
}
