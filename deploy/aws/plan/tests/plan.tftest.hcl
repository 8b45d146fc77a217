# terraform -chdir=deploy/aws/plan init && terraform -chdir=deploy/aws/plan test

variables {
  vpc_cidr                = "10.20.0.0/16"
  zones                   = ["eu-west-1a", "eu-west-1b", "eu-west-1c"]
  bucket                  = "lake-1"
  key_arn                 = "arn:aws:kms:eu-west-1:111122223333:key/k-1"
  kafka_bootstrap_servers = "b-1.example.com:9096,b-2.example.com:9096"
  kafka_cluster_arn       = "arn:aws:kafka:eu-west-1:111122223333:cluster/retail/5f0e-1"
  kafka_secret_arn        = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:AmazonMSK_retail-a"
  postgres_host           = "db.example.com"
  postgres_port           = 5432
  postgres_db             = "dagster"
  postgres_user           = "dagster"
  postgres_secret_arn     = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:postgres-a"
  spark_application_arn   = "arn:aws:emr-serverless:eu-west-1:111122223333:/applications/a1"
  spark_application_id    = "a1"
  spark_role_arn          = "arn:aws:iam::111122223333:role/retail-spark"
  file_system_arn         = "arn:aws:elasticfilesystem:eu-west-1:111122223333:file-system/fs-1"
  access_point_arn        = "arn:aws:elasticfilesystem:eu-west-1:111122223333:access-point/fsap-1"
  repository_arn          = "arn:aws:ecr:eu-west-1:111122223333:repository/retail"
  log_group_arn           = "arn:aws:logs:eu-west-1:111122223333:log-group:/retail"
}

run "subnets_do_not_overlap" {
  command = plan

  assert {
    condition     = length(distinct(concat(values(output.public_subnets), values(output.private_subnets)))) == 6
    error_message = "Two subnets have the same addresses."
  }
  assert {
    condition     = output.private_subnets["eu-west-1a"] == "10.20.128.0/20" && output.public_subnets["eu-west-1c"] == "10.20.32.0/20"
    error_message = "Subnets are not where they were: moving them replaces all that is in them."
  }
}

run "least_privilege" {
  command = plan

  assert {
    condition = alltrue(flatten([for policy in output.policies : [for statement in jsondecode(policy).Statement : [
      for action in flatten([statement.Action]) : !strcontains(action, "*")
    ]]]))
    error_message = "A policy allows actions by a wildcard."
  }
  assert {
    condition = toset(flatten([for policy in output.policies : [
      for statement in jsondecode(policy).Statement : statement.Sid if statement.Resource == "*"
    ]])) == toset(["LogInToTheRegistry", "Sessions"])
    error_message = "More than the two statements whose actions know no resources reach every resource."
  }
  assert {
    condition = alltrue([for statement in jsondecode(output.policies.control).Statement :
      alltrue([for action in statement.Action : !can(regex("^(s3|kms|kafka-cluster|emr-serverless|secretsmanager|iam):", action))])
    ])
    error_message = "The webserver or the daemon reaches data."
  }
  assert {
    condition = toset(flatten([
      for statement in jsondecode(output.policies.spark).Statement : statement.Resource
      if anytrue([for action in statement.Action : startswith(action, "secretsmanager:")])
    ])) == toset(["arn:aws:secretsmanager:eu-west-1:111122223333:secret:AmazonMSK_retail-a"])
    error_message = "Spark's jobs read other secrets than the login to Kafka, or not that."
  }
}

run "containers_are_told_what_they_need" {
  command = plan

  variables {
    settings = { BUSINESS_TIMEZONE = "Europe/London", KAFKA_SECURITY_PROTOCOL = "PLAINTEXT" }
    secrets  = { SNOWFLAKE_PASSWORD = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:snowflake-a" }
  }

  assert {
    condition     = output.environment.code.BUSINESS_TIMEZONE == "Europe/London" && output.environment.code.S3_BUCKET == "lake-1"
    error_message = "The code server does not get its settings."
  }
  assert {
    condition     = output.environment.code.KAFKA_SECURITY_PROTOCOL == "SASL_SSL"
    error_message = "A setting weakens what this configuration has made."
  }
  assert {
    condition     = keys(output.secrets.control) == ["DAGSTER_POSTGRES_PASSWORD"]
    error_message = "The webserver and the daemon get a secret that they do not need."
  }
  assert {
    condition = contains(flatten([
      for statement in jsondecode(output.policies.execution).Statement : statement.Resource if statement.Sid == "ReadSecrets"
    ]), "arn:aws:secretsmanager:eu-west-1:111122223333:secret:snowflake-a")
    error_message = "A secret is handed over that the execution role may not read."
  }
}

run "the_lake_is_where_the_settings_put_it" {
  command = plan

  variables {
    settings = { S3_PREFIX = "shops/north" }
  }

  assert {
    condition = alltrue([for role in ["code", "spark"] : contains(
      [for statement in jsondecode(output.policies[role]).Statement : statement.Resource],
      "arn:aws:s3:::lake-1/shops/north/*",
    )])
    error_message = "S3_PREFIX is not where the roles may read and write."
  }
}

run "an_object_that_is_not_there_is_told_from_one_that_is_forbidden" {
  command = plan

  assert {
    condition = alltrue([for role in ["code", "spark"] : anytrue([
      for statement in jsondecode(output.policies[role]).Statement :
      statement.Action == ["s3:ListBucket"] && statement.Resource == "arn:aws:s3:::lake-1" && !can(statement.Condition)
    ])])
    error_message = "S3 answers 403 instead of 404 to who may list the bucket under a condition only: the first lease could not be taken."
  }
}

run "login_to_kafka_by_iam" {
  command = plan

  variables {
    kafka_login      = "iam"
    kafka_secret_arn = null
    stream_on_emr    = true
  }

  assert {
    condition     = output.environment.code.KAFKA_SASL_MECHANISM == "AWS_MSK_IAM" && output.environment.code.KAFKA_SECURITY_PROTOCOL == "SASL_SSL"
    error_message = "The code server does not log in by IAM."
  }
  assert {
    condition     = keys(output.secrets.code) == ["DAGSTER_POSTGRES_PASSWORD"] && !can(output.environment.code.EMR_SERVERLESS_KAFKA_LOGIN)
    error_message = "A password of Kafka is handed over, of which there is none."
  }
  assert {
    condition = toset(flatten([
      for statement in jsondecode(output.policies.spark).Statement : statement.Action
      if anytrue([for action in statement.Action : can(regex("^(kafka-cluster|secretsmanager):", action))])
    ])) == toset(["kafka-cluster:Connect", "kafka-cluster:DescribeTopic", "kafka-cluster:ReadData"])
    error_message = "Spark's jobs may do more in Kafka than read topics, or not that."
  }
  assert {
    condition = toset(flatten([
      for statement in jsondecode(output.policies.code).Statement : statement.Resource
      if anytrue([for action in statement.Action : startswith(action, "kafka-cluster:")])
      ])) == toset([
      "arn:aws:kafka:eu-west-1:111122223333:cluster/retail/5f0e-1", "arn:aws:kafka:eu-west-1:111122223333:topic/retail/5f0e-1/*",
      "arn:aws:kafka:eu-west-1:111122223333:group/retail/5f0e-1/*",
      "arn:aws:kafka:eu-west-1:111122223333:transactional-id/retail/5f0e-1/*",
    ])
    error_message = "The code server reaches other clusters, or not all of this one."
  }
}

run "login_to_kafka_by_password_needs_no_right_in_it" {
  command = plan

  assert {
    condition     = !anytrue([for policy in output.policies : strcontains(policy, "kafka-cluster:")])
    error_message = "Who logs in by a password has rights by IAM, too."
  }
}

run "the_stream_is_in_the_code_servers_task_unless_it_is_said" {
  command = plan

  assert {
    condition     = !can(output.environment.code.EMR_SERVERLESS_APPLICATION)
    error_message = "The stream goes to EMR Serverless, where nobody has brought the package."
  }
}

run "the_stream_on_emr_serverless_has_all_that_the_code_server_needs" {
  command = plan

  variables {
    stream_on_emr = true
  }

  assert {
    condition = [
      output.environment.code.EMR_SERVERLESS_APPLICATION, output.environment.code.EMR_SERVERLESS_ROLE,
      output.environment.code.EMR_SERVERLESS_KAFKA_LOGIN,
      ] == [
      "a1", "arn:aws:iam::111122223333:role/retail-spark",
      "arn:aws:secretsmanager:eu-west-1:111122223333:secret:AmazonMSK_retail-a",
    ]
    error_message = "The code server is not told where the stream runs, as what, or by which login."
  }
  assert {
    condition = toset(flatten([
      for statement in jsondecode(output.policies.code).Statement : [
        for action in statement.Action : action if can(regex("^(emr-serverless|iam):", action))
      ]
      ])) == toset([
      "emr-serverless:StartJobRun", "emr-serverless:TagResource", "emr-serverless:GetJobRun", "emr-serverless:CancelJobRun",
      "iam:PassRole",
    ])
    error_message = "The code server may not do with a job run what it does, or more."
  }
}

run "a_secret_among_the_settings_is_refused" {
  command = plan

  variables {
    settings = { SNOWFLAKE_PASSWORD = "value" }
  }

  expect_failures = [var.settings]
}

run "a_value_in_the_place_of_an_arn_is_refused" {
  command = plan

  variables {
    secrets = { SNOWFLAKE_PASSWORD = "value" }
  }

  expect_failures = [var.secrets]
}
