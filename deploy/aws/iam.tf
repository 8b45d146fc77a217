module "plan" {
  source = "./plan"

  vpc_cidr                = var.vpc_cidr
  zones                   = local.zones
  partition               = data.aws_partition.here.partition
  bucket                  = aws_s3_bucket.lake.id
  key_arn                 = aws_kms_key.data.arn
  kafka_bootstrap_servers = var.kafka_login == "iam" ? aws_msk_cluster.main.bootstrap_brokers_sasl_iam : aws_msk_cluster.main.bootstrap_brokers_sasl_scram
  kafka_cluster_arn       = aws_msk_cluster.main.arn
  kafka_login             = var.kafka_login
  kafka_secret_arn        = one(aws_secretsmanager_secret.kafka[*].arn)
  postgres_host           = aws_db_instance.dagster.address
  postgres_port           = aws_db_instance.dagster.port
  postgres_db             = aws_db_instance.dagster.db_name
  postgres_user           = aws_db_instance.dagster.username
  postgres_secret_arn     = aws_secretsmanager_secret.postgres.arn
  spark_application_arn   = aws_emrserverless_application.spark.arn
  spark_application_id    = aws_emrserverless_application.spark.id
  stream_on_emr           = var.stream_on_emr_serverless
  spark_role_arn          = aws_iam_role.part["spark"].arn
  file_system_arn         = aws_efs_file_system.state.arn
  access_point_arn        = aws_efs_access_point.state.arn
  repository_arn          = aws_ecr_repository.platform.arn
  log_group_arn           = aws_cloudwatch_log_group.part["dagster"].arn
  settings                = var.settings
  secrets                 = var.secrets
}

locals {
  # Role to the service that takes it on.
  roles = {
    code      = "ecs-tasks.amazonaws.com"
    control   = "ecs-tasks.amazonaws.com"
    execution = "ecs-tasks.amazonaws.com"
    spark     = "emr-serverless.amazonaws.com"
  }
}

data "aws_iam_policy_document" "trust" {
  for_each = local.roles

  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = [each.value]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [data.aws_caller_identity.me.account_id]
    }
  }
}

resource "aws_iam_role" "part" {
  for_each           = local.roles
  name               = "${var.name}-${each.key}"
  assume_role_policy = data.aws_iam_policy_document.trust[each.key].json
}

resource "aws_iam_role_policy" "part" {
  for_each = local.roles
  name     = "what-it-needs"
  role     = aws_iam_role.part[each.key].id
  policy   = module.plan.policies[each.key]
}
