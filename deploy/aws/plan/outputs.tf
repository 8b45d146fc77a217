output "public_subnets" {
  description = "Addresses of the public subnet of each zone."
  value       = local.public_subnets
}

output "private_subnets" {
  description = "Addresses of the private subnet of each zone."
  value       = local.private_subnets
}

output "policies" {
  description = "IAM policy documents, by role."
  value       = { for role, statements in local.statements : role => jsonencode({ Version = "2012-10-17", Statement = statements }) }
}

output "environment" {
  description = "What each container is told, by the names of docs/settings.md."
  value = {
    code    = merge(var.settings, local.history, local.kafka, local.stream, { S3_BUCKET = var.bucket })
    control = local.history
  }
}

output "secrets" {
  description = "What each container is handed from Secrets Manager: name to ARN, with the key inside where there are several."
  value = {
    code = merge(var.secrets, { DAGSTER_POSTGRES_PASSWORD = var.postgres_secret_arn }, local.by_iam ? {} : {
      KAFKA_SASL_USERNAME = "${var.kafka_secret_arn}:username::"
      KAFKA_SASL_PASSWORD = "${var.kafka_secret_arn}:password::"
    })
    control = { DAGSTER_POSTGRES_PASSWORD = var.postgres_secret_arn }
  }
}
