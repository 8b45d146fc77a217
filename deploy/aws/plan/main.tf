# What is decided before anything is made: addresses, who may do what, what the containers are told. It needs no provider,
# so `terraform test` proves it anywhere, without an account.

terraform {
  required_version = ">= 1.11"
}

locals {
  # Public and private /20s, one of each for a zone, from the two halves of the VPC.
  public_subnets  = { for index, zone in var.zones : zone => cidrsubnet(var.vpc_cidr, 4, index) }
  private_subnets = { for index, zone in var.zones : zone => cidrsubnet(var.vpc_cidr, 4, index + 8) }

  bucket_arn = "arn:${var.partition}:s3:::${var.bucket}"
  prefix     = lookup(var.settings, "S3_PREFIX", "retail")

  use_key = {
    Sid      = "UseTheKey"
    Effect   = "Allow"
    Action   = ["kms:Decrypt", "kms:GenerateDataKey"]
    Resource = var.key_arn
  }

  lake = [
    {
      # Not by prefix: only who may list the bucket is told that an object is not there (404), and that request has no prefix.
      Sid      = "ListTheLake"
      Effect   = "Allow"
      Action   = ["s3:ListBucket"]
      Resource = local.bucket_arn
    },
    {
      Sid      = "ReadAndWriteTheLake"
      Effect   = "Allow"
      Action   = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]
      Resource = "${local.bucket_arn}/${local.prefix}/*"
    },
  ]

  # With IAM's logins, IAM says who may do what in Kafka: the topics, groups and transactions of this one cluster.
  kafka_arn = { for kind in ["topic", "group", "transactional-id"] :
    kind => "${replace(var.kafka_cluster_arn, ":cluster/", ":${kind}/")}/*"
  }
  read_kafka = [
    {
      Sid      = "LogInToKafka"
      Effect   = "Allow"
      Action   = ["kafka-cluster:Connect"]
      Resource = var.kafka_cluster_arn
    },
    {
      Sid      = "ReadTopics"
      Effect   = "Allow"
      Action   = ["kafka-cluster:DescribeTopic", "kafka-cluster:ReadData"]
      Resource = local.kafka_arn["topic"]
    },
  ]
  use_kafka = concat(local.read_kafka, [
    {
      Sid      = "AskKafkaAndWriteOnce"
      Effect   = "Allow"
      Action   = ["kafka-cluster:DescribeCluster", "kafka-cluster:WriteDataIdempotently"]
      Resource = var.kafka_cluster_arn
    },
    {
      Sid    = "MakeAndWriteTopics"
      Effect = "Allow"
      Action = [
        "kafka-cluster:CreateTopic", "kafka-cluster:DescribeTopicDynamicConfiguration", "kafka-cluster:WriteData",
      ]
      Resource = local.kafka_arn["topic"]
    },
    {
      Sid      = "JoinGroups"
      Effect   = "Allow"
      Action   = ["kafka-cluster:DescribeGroup", "kafka-cluster:AlterGroup"]
      Resource = local.kafka_arn["group"]
    },
    {
      Sid      = "UseTransactions"
      Effect   = "Allow"
      Action   = ["kafka-cluster:DescribeTransactionalId", "kafka-cluster:AlterTransactionalId"]
      Resource = local.kafka_arn["transactional-id"]
    },
  ])
  by_iam = var.kafka_login == "iam"

  # `aws ecs execute-command` and port forwarding, by which people reach the UI; these actions know no resources.
  sessions = {
    Sid    = "Sessions"
    Effect = "Allow"
    Action = [
      "ssmmessages:CreateControlChannel", "ssmmessages:CreateDataChannel",
      "ssmmessages:OpenControlChannel", "ssmmessages:OpenDataChannel",
    ]
    Resource = "*"
  }

  state = {
    Sid       = "MountTheState"
    Effect    = "Allow"
    Action    = ["elasticfilesystem:ClientMount", "elasticfilesystem:ClientWrite"]
    Resource  = var.file_system_arn
    Condition = { StringEquals = { "elasticfilesystem:AccessPointArn" = var.access_point_arn } }
  }

  statements = {
    # The code server and the runs that it carries.
    code = concat(local.lake, [for statement in local.use_kafka : statement if local.by_iam], [local.use_key, local.state, local.sessions, {
      Sid      = "SubmitSparkJobs"
      Effect   = "Allow"
      Action   = ["emr-serverless:StartJobRun"]
      Resource = var.spark_application_arn
      }, {
      Sid      = "FollowSparkJobs"
      Effect   = "Allow"
      Action   = ["emr-serverless:GetJobRun", "emr-serverless:CancelJobRun", "emr-serverless:TagResource"]
      Resource = "${var.spark_application_arn}/jobruns/*"
      }, {
      Sid       = "AsTheirRoleOnly"
      Effect    = "Allow"
      Action    = ["iam:PassRole"]
      Resource  = var.spark_role_arn
      Condition = { StringEquals = { "iam:PassedToService" = "emr-serverless.amazonaws.com" } }
    }])

    # Webserver and daemon: the history is in PostgreSQL, the step logs in the state; no data.
    control = [local.state, local.sessions]

    # Spark jobs: the lake, and Kafka: by IAM, or by the login of all the platform's clients.
    spark = concat(local.lake, [local.use_key], [for statement in local.read_kafka : statement if local.by_iam], [
      for arn in [var.kafka_secret_arn] : {
        Sid      = "ReadTheKafkaLogin"
        Effect   = "Allow"
        Action   = ["secretsmanager:GetSecretValue"]
        Resource = arn
      } if !local.by_iam
    ])

    # ECS itself, before a container runs: image, log streams, the secrets that it hands over.
    execution = [
      {
        Sid      = "LogInToTheRegistry"
        Effect   = "Allow"
        Action   = ["ecr:GetAuthorizationToken"]
        Resource = "*"
      },
      {
        Sid      = "PullTheImage"
        Effect   = "Allow"
        Action   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
        Resource = var.repository_arn
      },
      {
        Sid      = "WriteLogs"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = "${var.log_group_arn}:*"
      },
      {
        Sid      = "ReadSecrets"
        Effect   = "Allow"
        Action   = ["secretsmanager:GetSecretValue"]
        Resource = distinct(concat([for arn in [var.kafka_secret_arn] : arn if !local.by_iam], [var.postgres_secret_arn], values(var.secrets)))
      },
      {
        Sid      = "DecryptThem"
        Effect   = "Allow"
        Action   = ["kms:Decrypt"]
        Resource = var.key_arn
      },
    ]
  }

  history = {
    DAGSTER_POSTGRES_HOST    = var.postgres_host
    DAGSTER_POSTGRES_PORT    = tostring(var.postgres_port)
    DAGSTER_POSTGRES_DB      = var.postgres_db
    DAGSTER_POSTGRES_USER    = var.postgres_user
    DAGSTER_POSTGRES_SSLMODE = "require"
  }

  kafka = {
    KAFKA_BOOTSTRAP_SERVERS = var.kafka_bootstrap_servers
    KAFKA_SECURITY_PROTOCOL = "SASL_SSL"
    KAFKA_SASL_MECHANISM    = local.by_iam ? "AWS_MSK_IAM" : "SCRAM-SHA-512"
  }

  stream = var.stream_on_emr ? merge(
    {
      EMR_SERVERLESS_APPLICATION = var.spark_application_id
      EMR_SERVERLESS_ROLE        = var.spark_role_arn
    },
    local.by_iam ? {} : { EMR_SERVERLESS_KAFKA_LOGIN = var.kafka_secret_arn },
  ) : {}
}
