output "repository" {
  description = "Where to push the image."
  value       = aws_ecr_repository.platform.repository_url
}

output "settings" {
  description = "What the code server is told, by the names of docs/settings.md."
  value       = module.plan.environment.code
}

output "secret_settings" {
  description = "Where the secret settings are: name to ARN."
  value       = module.plan.secrets.code
}

output "kafka_client_security_group" {
  description = "The security group that lets a producer elsewhere in the VPC reach Kafka; it needs the KAFKA_… of `settings`, too."
  value       = aws_security_group.part["client"].id
}

output "lake_key" {
  description = "ARN of the key that the lake is encrypted by, for others who are to read it."
  value       = aws_kms_key.data.arn
}

output "spark_application_id" {
  description = "The EMR Serverless application."
  value       = aws_emrserverless_application.spark.id
}

output "spark_role_arn" {
  description = "The role of its jobs."
  value       = aws_iam_role.part["spark"].arn
}

output "task_definitions" {
  description = "What the ECS services run: to tell a deployment that went through from one that ECS took back."
  value       = { for name, task in aws_ecs_task_definition.service : name => task.arn }
}

output "cluster" {
  description = "The ECS cluster; its services are code, webserver and daemon."
  value       = aws_ecs_cluster.main.name
}
