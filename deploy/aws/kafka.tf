resource "aws_msk_configuration" "main" {
  name = var.name

  # The topics set append time, retention and clean-up for themselves, when the platform creates them.
  server_properties = <<-PROPERTIES
    auto.create.topics.enable=false
    default.replication.factor=3
    min.insync.replicas=2
    unclean.leader.election.enable=false
    log.retention.hours=168
    transaction.state.log.replication.factor=3
    transaction.state.log.min.isr=2
    offsets.topic.replication.factor=3
  PROPERTIES
}

resource "aws_msk_cluster" "main" {
  cluster_name           = var.name
  kafka_version          = var.kafka_version
  number_of_broker_nodes = length(local.zones)
  enhanced_monitoring    = "PER_TOPIC_PER_BROKER"

  broker_node_group_info {
    instance_type   = var.kafka_instance_type
    client_subnets  = [for zone in local.zones : aws_subnet.private[zone].id]
    security_groups = [aws_security_group.part["kafka"].id]

    storage_info {
      ebs_storage_info {
        volume_size = var.kafka_volume_gib
      }
    }
  }

  configuration_info {
    arn      = aws_msk_configuration.main.arn
    revision = aws_msk_configuration.main.latest_revision
  }

  # IAM always, for people; SCRAM where the platform's clients log in by it; nobody without either.
  client_authentication {
    unauthenticated = false
    sasl {
      iam   = true
      scram = var.kafka_login == "scram"
    }
  }

  encryption_info {
    encryption_at_rest_kms_key_arn = aws_kms_key.data.arn

    encryption_in_transit {
      client_broker = "TLS"
      in_cluster    = true
    }
  }

  logging_info {
    broker_logs {
      cloudwatch_logs {
        enabled   = true
        log_group = aws_cloudwatch_log_group.part["kafka"].name
      }
    }
  }
}

# The password is made while Terraform runs and goes into the secret; it is neither in the plan nor in the state.
ephemeral "aws_secretsmanager_random_password" "kafka" {
  count               = var.kafka_login == "scram" ? 1 : 0
  password_length     = 40
  exclude_punctuation = true
}

resource "aws_secretsmanager_secret" "kafka" {
  count = var.kafka_login == "scram" ? 1 : 0
  # MSK takes secrets by this prefix only.
  name        = "AmazonMSK_${var.name}"
  description = "SCRAM user of the platform: username and password"
  kms_key_id  = aws_kms_key.data.arn
}

resource "aws_secretsmanager_secret_version" "kafka" {
  count                    = length(aws_secretsmanager_secret.kafka)
  secret_id                = aws_secretsmanager_secret.kafka[0].id
  secret_string_wo         = jsonencode({ username = "retail", password = ephemeral.aws_secretsmanager_random_password.kafka[0].random_password })
  secret_string_wo_version = var.password_version
}

resource "aws_msk_single_scram_secret_association" "platform" {
  count       = length(aws_secretsmanager_secret.kafka)
  cluster_arn = aws_msk_cluster.main.arn
  secret_arn  = aws_secretsmanager_secret.kafka[0].arn
  depends_on  = [aws_secretsmanager_secret_version.kafka]
}
