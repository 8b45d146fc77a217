output "repository" {
  description = "Where to push the image."
  value       = aws_ecr_repository.platform.repository_url
}

output "settings" {
  description = "What the code server is told, by the names of docs/settings.md; a producer elsewhere in the VPC needs KAFKA_…"
  value       = module.plan.environment.code
}

output "secret_settings" {
  description = "Where the secret settings are: name to ARN."
  value       = module.plan.secrets.code
}

output "spark_application_id" {
  description = "The EMR Serverless application."
  value       = aws_emrserverless_application.spark.id
}

output "spark_role_arn" {
  description = "The role of its jobs."
  value       = aws_iam_role.part["spark"].arn
}

output "cluster" {
  description = "The ECS cluster; its services are code, webserver and daemon."
  value       = aws_ecs_cluster.main.name
}
