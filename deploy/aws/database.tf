ephemeral "aws_secretsmanager_random_password" "postgres" {
  password_length     = 40
  exclude_punctuation = true
}

resource "aws_secretsmanager_secret" "postgres" {
  name        = "${var.name}/postgres"
  description = "Password of Dagster's user"
  kms_key_id  = aws_kms_key.data.arn
}

resource "aws_secretsmanager_secret_version" "postgres" {
  secret_id                = aws_secretsmanager_secret.postgres.id
  secret_string_wo         = ephemeral.aws_secretsmanager_random_password.postgres.random_password
  secret_string_wo_version = var.password_version
}

# Read back: an apply that stopped half-way goes on with the password that the secret has, not with another one.
ephemeral "aws_secretsmanager_secret_version" "postgres" {
  secret_id = aws_secretsmanager_secret_version.postgres.secret_id
}

resource "aws_db_subnet_group" "main" {
  name       = var.name
  subnet_ids = [for zone in local.zones : aws_subnet.private[zone].id]
}

resource "aws_db_instance" "dagster" {
  identifier                      = var.name
  engine                          = "postgres"
  engine_version                  = "17"
  instance_class                  = var.postgres_instance_class
  allocated_storage               = 20
  max_allocated_storage           = 100
  storage_type                    = "gp3"
  storage_encrypted               = true
  kms_key_id                      = aws_kms_key.data.arn
  db_name                         = "dagster"
  username                        = "dagster"
  password_wo                     = ephemeral.aws_secretsmanager_secret_version.postgres.secret_string
  password_wo_version             = var.password_version
  db_subnet_group_name            = aws_db_subnet_group.main.name
  vpc_security_group_ids          = [aws_security_group.part["postgres"].id]
  publicly_accessible             = false
  multi_az                        = true
  backup_retention_period         = 14
  copy_tags_to_snapshot           = true
  deletion_protection             = true
  skip_final_snapshot             = false
  final_snapshot_identifier       = "${var.name}-last"
  auto_minor_version_upgrade      = true
  enabled_cloudwatch_logs_exports = ["postgresql", "upgrade"]
}

# What the containers share besides the database: step logs, leases, heartbeats, the warehouse file, the reactions' state.
resource "aws_efs_file_system" "state" {
  encrypted       = true
  kms_key_id      = aws_kms_key.data.arn
  throughput_mode = "elastic"
  tags            = { Name = "${var.name}-state" }
}

resource "aws_efs_mount_target" "state" {
  for_each        = aws_subnet.private
  file_system_id  = aws_efs_file_system.state.id
  subnet_id       = each.value.id
  security_groups = [aws_security_group.part["state"].id]
}

resource "aws_efs_backup_policy" "state" {
  file_system_id = aws_efs_file_system.state.id

  backup_policy {
    status = "ENABLED"
  }
}

# Whoever mounts it is the image's user.
resource "aws_efs_access_point" "state" {
  file_system_id = aws_efs_file_system.state.id

  posix_user {
    uid = 10001
    gid = 10001
  }

  root_directory {
    path = "/retail"

    creation_info {
      owner_uid   = 10001
      owner_gid   = 10001
      permissions = "0750"
    }
  }
}
