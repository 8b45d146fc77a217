data "aws_availability_zones" "here" {
  state = "available"

  # Neither Local Zones nor Wavelength Zones, which have no MSK.
  filter {
    name   = "opt-in-status"
    values = ["opt-in-not-required"]
  }

  lifecycle {
    postcondition {
      condition     = length(self.names) >= 3 && alltrue([for zone in var.zones : contains(self.names, zone)])
      error_message = "${var.region} offers this account the zones ${join(", ", self.names)}: three are needed, and those in var.zones among them."
    }
  }
}

data "aws_caller_identity" "me" {}

data "aws_partition" "here" {}

locals {
  zones = length(var.zones) > 0 ? var.zones : slice(data.aws_availability_zones.here.names, 0, 3)
}

resource "aws_vpc" "main" {
  cidr_block           = var.vpc_cidr
  enable_dns_hostnames = true
  enable_dns_support   = true
  tags                 = { Name = var.name }
}

# Nobody is in the default group, and nothing passes it.
resource "aws_default_security_group" "closed" {
  vpc_id = aws_vpc.main.id
}

resource "aws_subnet" "public" {
  for_each          = toset(local.zones)
  vpc_id            = aws_vpc.main.id
  availability_zone = each.key
  cidr_block        = module.plan.public_subnets[each.key]
  tags              = { Name = "${var.name}-public-${each.key}" }
}

resource "aws_subnet" "private" {
  for_each          = toset(local.zones)
  vpc_id            = aws_vpc.main.id
  availability_zone = each.key
  cidr_block        = module.plan.private_subnets[each.key]
  tags              = { Name = "${var.name}-private-${each.key}" }
}

resource "aws_internet_gateway" "main" {
  vpc_id = aws_vpc.main.id
  tags   = { Name = var.name }
}

# One NAT gateway: alerts, Snowflake and the registry go through it. Without its zone they wait; Kafka and the lake do not.
resource "aws_eip" "nat" {
  domain = "vpc"
  tags   = { Name = "${var.name}-nat" }
}

resource "aws_nat_gateway" "main" {
  allocation_id = aws_eip.nat.id
  subnet_id     = aws_subnet.public[local.zones[0]].id
  tags          = { Name = var.name }
  depends_on    = [aws_internet_gateway.main]
}

resource "aws_route_table" "public" {
  vpc_id = aws_vpc.main.id

  route {
    cidr_block = "0.0.0.0/0"
    gateway_id = aws_internet_gateway.main.id
  }
}

resource "aws_route_table" "private" {
  vpc_id = aws_vpc.main.id

  route {
    cidr_block     = "0.0.0.0/0"
    nat_gateway_id = aws_nat_gateway.main.id
  }
}

resource "aws_route_table_association" "public" {
  for_each       = aws_subnet.public
  subnet_id      = each.value.id
  route_table_id = aws_route_table.public.id
}

resource "aws_route_table_association" "private" {
  for_each       = aws_subnet.private
  subnet_id      = each.value.id
  route_table_id = aws_route_table.private.id
}

# The lake is reached without the NAT gateway, which bills by the byte.
resource "aws_vpc_endpoint" "s3" {
  vpc_id            = aws_vpc.main.id
  service_name      = "com.amazonaws.${var.region}.s3"
  vpc_endpoint_type = "Gateway"
  route_table_ids   = [aws_route_table.private.id]
}

locals {
  groups = {
    code     = "Dagster's code server and the runs that it carries"
    control  = "Dagster's webserver and daemon"
    spark    = "Spark jobs on EMR Serverless"
    kafka    = "Kafka's brokers"
    postgres = "Dagster's database"
    state    = "The file system of RETAIL_HOME"
    client   = "Clients of Kafka elsewhere in the VPC, which have this group beside their own"
  }

  # Who may open connections to whom; what is not here is refused. Kafka's logins have ports of their own: SCRAM 9096, IAM 9098.
  allowed = merge({ for part in setproduct(["code", "spark", "client"], [9096, 9098]) :
    "${part[0]}-kafka-${part[1]}" => { from = part[0], to = "kafka", port = part[1] }
    }, {
    "control-code-4000"     = { from = "control", to = "code", port = 4000 }
    "code-postgres-5432"    = { from = "code", to = "postgres", port = 5432 }
    "control-postgres-5432" = { from = "control", to = "postgres", port = 5432 }
    "code-state-2049"       = { from = "code", to = "state", port = 2049 }
    "control-state-2049"    = { from = "control", to = "state", port = 2049 }
  })
}

resource "aws_security_group" "part" {
  for_each    = local.groups
  name        = "${var.name}-${each.key}"
  description = each.value
  vpc_id      = aws_vpc.main.id
  tags        = { Name = "${var.name}-${each.key}" }
}

resource "aws_vpc_security_group_ingress_rule" "allowed" {
  for_each                     = local.allowed
  description                  = "${each.value.from} to ${each.value.to}"
  security_group_id            = aws_security_group.part[each.value.to].id
  referenced_security_group_id = aws_security_group.part[each.value.from].id
  ip_protocol                  = "tcp"
  from_port                    = each.value.port
  to_port                      = each.value.port
}

# The brokers, the database and the file system open no connections of their own.
resource "aws_vpc_security_group_egress_rule" "out" {
  for_each          = toset(["code", "control", "spark"])
  description       = "To AWS, Snowflake and the receivers of alerts"
  security_group_id = aws_security_group.part[each.key].id
  ip_protocol       = "-1"
  cidr_ipv4         = "0.0.0.0/0"
}
