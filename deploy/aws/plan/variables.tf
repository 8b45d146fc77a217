variable "vpc_cidr" {
  description = "Addresses of the VPC."
  type        = string
}

variable "zones" {
  description = "Availability zones, by name."
  type        = list(string)
}

variable "partition" {
  description = "aws, aws-cn or aws-us-gov."
  type        = string
  default     = "aws"
}

variable "bucket" {
  description = "Bucket of the lake."
  type        = string
}

variable "key_arn" {
  description = "The KMS key of all data at rest."
  type        = string
}

variable "kafka_bootstrap_servers" {
  description = "Kafka's listeners for that login, host:port,…"
  type        = string
}

variable "kafka_cluster_arn" {
  description = "The cluster."
  type        = string
}

variable "kafka_login" {
  description = "How the platform's clients log in: scram or iam."
  type        = string
  default     = "scram"

  validation {
    condition     = contains(["scram", "iam"], var.kafka_login)
    error_message = "kafka_login is scram or iam."
  }
}

variable "kafka_secret_arn" {
  description = "Secret with username and password of the platform's SCRAM user; null where clients log in by IAM."
  type        = string
}

variable "postgres_host" {
  description = "Host of Dagster's database."
  type        = string
}

variable "postgres_port" {
  description = "Its port."
  type        = number
}

variable "postgres_db" {
  description = "Its name."
  type        = string
}

variable "postgres_user" {
  description = "Its user."
  type        = string
}

variable "postgres_secret_arn" {
  description = "Secret with the user's password."
  type        = string
}

variable "spark_application_arn" {
  description = "The EMR Serverless application."
  type        = string
}

variable "spark_application_id" {
  description = "Its id."
  type        = string
}

variable "stream_on_emr" {
  description = "Whether it runs the ingest stream."
  type        = bool
  default     = false
}

variable "spark_role_arn" {
  description = "The role of its jobs."
  type        = string
}

variable "file_system_arn" {
  description = "The file system of RETAIL_HOME."
  type        = string
}

variable "access_point_arn" {
  description = "Its access point, which makes every client the image's user."
  type        = string
}

variable "repository_arn" {
  description = "The image's repository."
  type        = string
}

variable "log_group_arn" {
  description = "The containers' log group."
  type        = string
}

variable "settings" {
  description = "More settings of the code server, by the names of docs/settings.md."
  type        = map(string)
  default     = {}

  validation {
    condition = alltrue([for name in keys(var.settings) :
      !can(regex("PASSWORD|SECRET_ACCESS_KEY|SESSION_TOKEN|WEBHOOK_URL|ROUTING_KEY", name))
    ])
    error_message = "A secret stands in settings, where the state would show it: put it into Secrets Manager, its ARN into secrets."
  }
}

variable "secrets" {
  description = "More secret settings of the code server: name to the ARN of the secret that holds the value."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for arn in values(var.secrets) : can(regex("^arn:[^:]+:secretsmanager:", arn))])
    error_message = "Each of secrets is the ARN of a secret in Secrets Manager, never the value."
  }
}
