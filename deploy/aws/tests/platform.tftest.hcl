# The whole platform as it would be made: by the AWS provider, of which only a plan is asked. It looks up the account, its
# zones, a random password and the secret `a-password`; retail_platform_tests/deploy/test_provider.py gives it a stand-in for
# AWS that has those.
#
# What AWS would choose (ARNs, ids, addresses) is given here, so that what is made of it can be seen in a plan.

override_resource {
  target          = aws_kms_key.data
  override_during = plan
  values          = { arn = "arn:aws:kms:eu-west-1:111122223333:key/k-1", key_id = "k-1" }
}

override_resource {
  target          = aws_s3_bucket.lake
  override_during = plan
  values          = { id = "lake-1", arn = "arn:aws:s3:::lake-1" }
}

override_resource {
  target          = aws_msk_cluster.main
  override_during = plan
  values = {
    arn                          = "arn:aws:kafka:eu-west-1:111122223333:cluster/retail-platform/5f0e-1"
    bootstrap_brokers_sasl_scram = "b-1.example.com:9096,b-2.example.com:9096"
    bootstrap_brokers_sasl_iam   = "b-1.example.com:9098,b-2.example.com:9098"
  }
}

override_resource {
  target          = aws_secretsmanager_secret.kafka
  override_during = plan
  values          = { arn = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:AmazonMSK_retail-a" }
}

override_resource {
  target          = aws_secretsmanager_secret.postgres
  override_during = plan
  # Read back while it is planned: it must be there.
  values = { id = "a-password", arn = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:postgres-a" }
}

override_resource {
  target          = aws_db_instance.dagster
  override_during = plan
  values          = { address = "db.example.com", port = 5432 }
}

override_resource {
  target          = aws_efs_file_system.state
  override_during = plan
  values = {
    id  = "fs-1"
    arn = "arn:aws:elasticfilesystem:eu-west-1:111122223333:file-system/fs-1"
  }
}

override_resource {
  target          = aws_efs_access_point.state
  override_during = plan
  values = {
    id  = "fsap-1"
    arn = "arn:aws:elasticfilesystem:eu-west-1:111122223333:access-point/fsap-1"
  }
}

override_resource {
  target          = aws_emrserverless_application.spark
  override_during = plan
  values = {
    id  = "a1"
    arn = "arn:aws:emr-serverless:eu-west-1:111122223333:/applications/a1"
  }
}

override_resource {
  target          = aws_iam_role.part
  override_during = plan
  values          = { id = "role", arn = "arn:aws:iam::111122223333:role/role" }
}

override_resource {
  target          = aws_security_group.part
  override_during = plan
  values          = { id = "sg-1" }
}

override_resource {
  target          = aws_subnet.private
  override_during = plan
  values          = { id = "subnet-1" }
}

variables {
  region      = "eu-west-1"
  emr_release = "emr-7.0.0"
  image       = "111122223333.dkr.ecr.eu-west-1.amazonaws.com/retail-platform@sha256:0000000000000000000000000000000000000000000000000000000000000000"
}

run "it_is_private_encrypted_and_reached_by_few" {
  command = plan

  variables {
    settings = { S3_PREFIX = "north" }
    secrets  = { SNOWFLAKE_PASSWORD = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:snowflake-a" }
  }

  # The lake
  assert {
    condition = alltrue([
      aws_s3_bucket_public_access_block.lake.block_public_acls, aws_s3_bucket_public_access_block.lake.block_public_policy,
      aws_s3_bucket_public_access_block.lake.ignore_public_acls, aws_s3_bucket_public_access_block.lake.restrict_public_buckets,
    ]) && aws_s3_bucket_ownership_controls.lake.rule[0].object_ownership == "BucketOwnerEnforced"
    error_message = "The bucket may become public."
  }
  assert {
    condition = alltrue([for rule in aws_s3_bucket_server_side_encryption_configuration.lake.rule : [
      for by in rule.apply_server_side_encryption_by_default : [by.sse_algorithm, by.kms_master_key_id]
    ] == [["aws:kms", "arn:aws:kms:eu-west-1:111122223333:key/k-1"]]])
    error_message = "The lake is not encrypted by the platform's key."
  }
  assert {
    condition     = aws_s3_bucket_versioning.lake.versioning_configuration[0].status == "Enabled"
    error_message = "What is deleted in the lake is gone at once."
  }
  assert {
    condition = alltrue([for rule in aws_s3_bucket_lifecycle_configuration.lake.rule : alltrue([
      for expiration in rule.expiration : coalesce(expiration.days, 0) == 0 && expiration.date == null
    ])])
    error_message = "The bucket expires objects that the lake still has."
  }

  # Kafka
  assert {
    condition = (aws_msk_cluster.main.encryption_info[0].encryption_in_transit[0].client_broker == "TLS"
      && aws_msk_cluster.main.encryption_info[0].encryption_in_transit[0].in_cluster
    && aws_msk_cluster.main.encryption_info[0].encryption_at_rest_kms_key_arn == "arn:aws:kms:eu-west-1:111122223333:key/k-1")
    error_message = "Kafka talks without TLS, or its disks are not under the platform's key."
  }
  assert {
    condition = (!aws_msk_cluster.main.client_authentication[0].unauthenticated
      && aws_msk_cluster.main.client_authentication[0].sasl[0].scram
    && length(aws_msk_cluster.main.broker_node_group_info[0].connectivity_info) == 0)
    error_message = "Kafka lets in who has no login, or is reached from outside the VPC."
  }

  # The database and the file system
  assert {
    condition = (!aws_db_instance.dagster.publicly_accessible && aws_db_instance.dagster.storage_encrypted
      && aws_db_instance.dagster.kms_key_id == "arn:aws:kms:eu-west-1:111122223333:key/k-1"
    && aws_db_instance.dagster.deletion_protection && aws_db_instance.dagster.password == null)
    error_message = "The database is public, not encrypted, easily deleted, or its password is in the plan."
  }
  assert {
    condition     = aws_efs_file_system.state.encrypted && aws_efs_file_system.state.kms_key_id == "arn:aws:kms:eu-west-1:111122223333:key/k-1"
    error_message = "The state is not encrypted by the platform's key."
  }
  assert {
    condition = alltrue([for secret in concat(aws_secretsmanager_secret_version.kafka[*], [aws_secretsmanager_secret_version.postgres]) :
      secret.secret_string_wo == null && secret.secret_string_wo_version == 1
    ])
    error_message = "A password is in the plan."
  }

  # Who reaches whom
  assert {
    condition = toset([for rule in aws_vpc_security_group_ingress_rule.allowed : "${rule.description}, ${rule.ip_protocol} ${rule.from_port} to ${rule.to_port}"]) == toset([
      "control to code, tcp 4000 to 4000",
      "code to kafka, tcp 9096 to 9096", "spark to kafka, tcp 9096 to 9096", "client to kafka, tcp 9096 to 9096",
      "code to kafka, tcp 9098 to 9098", "spark to kafka, tcp 9098 to 9098", "client to kafka, tcp 9098 to 9098",
      "code to postgres, tcp 5432 to 5432", "control to postgres, tcp 5432 to 5432",
      "code to state, tcp 2049 to 2049", "control to state, tcp 2049 to 2049",
    ])
    error_message = "Other connections are let in than those that are needed."
  }
  assert {
    condition = alltrue([for rule in aws_vpc_security_group_ingress_rule.allowed :
      rule.cidr_ipv4 == null && rule.cidr_ipv6 == null && rule.prefix_list_id == null && rule.referenced_security_group_id == "sg-1"
    ])
    error_message = "Addresses are let in, where only security groups are to be."
  }
  assert {
    condition     = toset(keys(aws_vpc_security_group_egress_rule.out)) == toset(["code", "control", "spark"])
    error_message = "The brokers, the database or the file system may open connections."
  }
  assert {
    condition = alltrue(concat(
      [for subnet in concat(values(aws_subnet.public), values(aws_subnet.private)) : subnet.map_public_ip_on_launch != true],
      [for service in concat([aws_ecs_service.code], values(aws_ecs_service.client)) : !service.network_configuration[0].assign_public_ip],
    ))
    error_message = "Something gets a public address."
  }
  assert {
    condition = (one(aws_emrserverless_application.spark.network_configuration).security_group_ids == toset(["sg-1"])
    && one(aws_emrserverless_application.spark.network_configuration).subnet_ids == toset(["subnet-1"]))
    error_message = "Spark's jobs are not in the private network."
  }

  # What the containers are told, and may do
  assert {
    condition = alltrue(flatten([for task in aws_ecs_task_definition.service : [
      for container in jsondecode(task.container_definitions) : concat(
        [for secret in container.secrets : startswith(secret.valueFrom, "arn:aws:secretsmanager:")],
        [for setting in container.environment : !can(regex("PASSWORD|SECRET|TOKEN", setting.name))],
        [container.image == var.image, container.linuxParameters.capabilities.drop == ["ALL"]],
      )
    ]]))
    error_message = "A container gets a secret otherwise than by its ARN, another image, or rights that it does not need."
  }
  assert {
    condition = toset([for secret in jsondecode(aws_ecs_task_definition.service["code"].container_definitions)[0].secrets : secret.name]) == toset([
      "DAGSTER_POSTGRES_PASSWORD", "KAFKA_SASL_USERNAME", "KAFKA_SASL_PASSWORD", "SNOWFLAKE_PASSWORD",
    ])
    error_message = "The code server does not get its secrets."
  }
  assert {
    condition     = strcontains(aws_iam_role_policy.part["spark"].policy, "arn:aws:s3:::lake-1/north/*")
    error_message = "S3_PREFIX among the settings is not where the roles may write."
  }
  assert {
    condition = { for setting in jsondecode(aws_ecs_task_definition.service["code"].container_definitions)[0].environment :
      setting.name => setting.value
    }["KAFKA_BOOTSTRAP_SERVERS"] == "b-1.example.com:9096,b-2.example.com:9096"
    error_message = "The code server is not told the listeners of its login."
  }
}

run "another_login_to_kafka_and_zones_of_ones_own" {
  command = plan

  variables {
    kafka_login = "iam"
    zones       = ["eu-west-1c", "eu-west-1a", "eu-west-1b"]
  }

  assert {
    condition     = output.settings.KAFKA_BOOTSTRAP_SERVERS == "b-1.example.com:9098,b-2.example.com:9098" && output.settings.KAFKA_SASL_MECHANISM == "AWS_MSK_IAM"
    error_message = "The code server is not told the listeners of its login."
  }
  assert {
    condition = (length(aws_secretsmanager_secret.kafka) == 0 && !aws_msk_cluster.main.client_authentication[0].sasl[0].scram
    && aws_msk_cluster.main.client_authentication[0].sasl[0].iam)
    error_message = "A password for Kafka is there that nobody uses."
  }
  assert {
    condition     = strcontains(aws_iam_role_policy.part["code"].policy, "arn:aws:kafka:eu-west-1:111122223333:topic/retail-platform/5f0e-1/*")
    error_message = "The code server's role may not use Kafka."
  }
  assert {
    condition     = aws_subnet.private["eu-west-1c"].cidr_block == "10.20.128.0/20"
    error_message = "The first zone that was named is not the first."
  }
}

run "a_region_with_two_zones_is_refused" {
  command = plan

  override_data {
    target = data.aws_availability_zones.here
    values = { names = ["eu-west-1a", "eu-west-1b"] }
  }

  expect_failures = [data.aws_availability_zones.here]
}

run "two_zones_are_refused" {
  command = plan

  variables {
    zones = ["eu-west-1a", "eu-west-1b"]
  }

  expect_failures = [var.zones]
}

run "an_image_by_tag_is_refused" {
  command = plan

  variables {
    image = "111122223333.dkr.ecr.eu-west-1.amazonaws.com/retail-platform:v1"
  }

  expect_failures = [var.image]
}
