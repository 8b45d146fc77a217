variable "name" {
  description = "Prefix of every name; one a platform where several share an account."
  type        = string
  default     = "retail-platform"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{2,23}$", var.name))
    error_message = "name has 3 to 24 lower-case letters, digits and hyphens, and begins with a letter."
  }
}

variable "region" {
  description = "AWS region."
  type        = string
}

variable "vpc_cidr" {
  description = "Addresses of the VPC, a /16."
  type        = string
  default     = "10.20.0.0/16"

  validation {
    condition     = can(cidrhost(var.vpc_cidr, 0)) && endswith(var.vpc_cidr, "/16")
    error_message = "vpc_cidr is a /16, e.g. 10.20.0.0/16."
  }
}

variable "zones" {
  description = "The three availability zones, by name; left out, the region's first three. Name them once something is made: the first three may be others when AWS adds one, and everything would move."
  type        = list(string)
  default     = []

  validation {
    condition     = contains([0, 3], length(distinct(var.zones))) && length(var.zones) < 4
    error_message = "zones is three different zones, or left out: Kafka keeps every record in three."
  }
}

variable "image" {
  description = "The image to run, by digest: REPOSITORY@sha256:…; the repository is the output `repository`."
  type        = string

  validation {
    condition     = can(regex("@sha256:[0-9a-f]{64}$", var.image))
    error_message = "image names its digest (…@sha256:…): a tag may be moved to another image."
  }
}

variable "settings" {
  description = "More settings of the platform, by the names of docs/settings.md; no secrets."
  type        = map(string)
  default     = {}
}

variable "secrets" {
  description = "More secret settings: name to the ARN of the secret in Secrets Manager that holds the value."
  type        = map(string)
  default     = {}
}

variable "kafka_version" {
  description = "Version of Kafka, as MSK offers it: 4.1.x, its newest for brokers of this kind, without ZooKeeper."
  type        = string
  default     = "4.1.x.kraft"
}

variable "kafka_login" {
  description = "How the platform's clients log in to Kafka: scram (a password in Secrets Manager) or iam (their roles, with their rights)."
  type        = string
  default     = "scram"

  validation {
    condition     = contains(["scram", "iam"], var.kafka_login)
    error_message = "kafka_login is scram or iam."
  }
}

variable "kafka_instance_type" {
  description = "Size of a broker; there is one in each of three zones."
  type        = string
  default     = "kafka.m7g.large"
}

variable "kafka_volume_gib" {
  description = "Disk of a broker, in GiB."
  type        = number
  default     = 200
}

variable "emr_release" {
  description = "Release of EMR, which decides Spark's version."
  type        = string
}

variable "stream_on_emr_serverless" {
  description = "Whether the ingest stream runs on EMR Serverless, for which `retail cluster package` brings what it needs; if not, in the code server's task."
  type        = bool
  default     = false
}

variable "spark_most_vcpu" {
  description = "Most vCPUs that all Spark jobs together may take."
  type        = number
  default     = 16
}

variable "postgres_instance_class" {
  description = "Size of Dagster's database."
  type        = string
  default     = "db.t4g.small"
}

variable "code_cpu" {
  description = "CPU units of the code server, 1024 a vCPU: it carries the runs, the stream's Spark driver among them."
  type        = number
  default     = 4096
}

variable "code_memory_mib" {
  description = "Its memory, in MiB."
  type        = number
  default     = 16384
}

variable "log_retention_days" {
  description = "How long logs are kept."
  type        = number
  default     = 30
}

variable "noncurrent_days" {
  description = "How long S3 keeps what was deleted or replaced in the lake."
  type        = number
  default     = 14
}

variable "password_version" {
  description = "Raise it to have new passwords made for Kafka and PostgreSQL; the services are then to be deployed again."
  type        = number
  default     = 1
}
