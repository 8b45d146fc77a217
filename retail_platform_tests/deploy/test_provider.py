"""``deploy/aws`` by Terraform with the AWS provider, where one is; moto stands in for AWS, no account is needed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import boto3
import pytest

from retail_platform_tests.deploy.aws_schema import declared
from retail_platform_tests.deploy.terraform import initialized, needs_terraform, terraform

pytestmark = needs_terraform

REGION = "eu-west-1"
_KEY = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}

#: What moto does not have: configurations of MSK, and with them the cluster and what waits for it; backups of EFS. Its
#: applications of EMR Serverless are started from the first, which the provider takes for an error.
_NOT_IN_MOTO = {
    "aws_msk_configuration.main",
    "aws_msk_cluster.main",
    "aws_msk_single_scram_secret_association.platform",
    "aws_ecs_service.code",
    "aws_ecs_service.client",
    "aws_efs_backup_policy.state",
    "aws_emrserverless_application.spark",
}
#: What those would say, so that all else can be made without them.
_INSTEAD = """
module "plan" {
  kafka_bootstrap_servers = "b-1.example.com:9096"
  kafka_cluster_arn       = "arn:aws:kafka:eu-west-1:123456789012:cluster/retail-platform/5f0e-1"
  spark_application_arn   = "arn:aws:emr-serverless:eu-west-1:123456789012:/applications/a1"
  spark_application_id    = "a1"
}
"""
_VARIABLES = f"""
region      = "{REGION}"
emr_release = "emr-7.0.0"
image       = "example.com/retail-platform@sha256:{"0" * 64}"
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return initialized(tmp_path_factory.mktemp("terraform"))


def test_it_is_valid(root: Path) -> None:
    done = terraform("validate", folder=root)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_would_be_made_is_private_encrypted_and_reached_by_few(root: Path, s3_endpoint: str) -> None:
    """`terraform test` of the root module: its assertions are in tests/."""
    _client("secretsmanager", s3_endpoint).create_secret(Name="a-password", SecretString="any")
    done = terraform("test", folder=root, **_aws(s3_endpoint))
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"Success! [1-9]\d* passed, 0 failed", done.stdout)


@pytest.mark.soak
def test_what_moto_has_is_made_and_kept(root: Path, s3_endpoint: str) -> None:
    """Applied as docs/deploy.md says, looked at by boto3, planned again without a change, and not destroyed."""
    aws = _aws(s3_endpoint)
    (root / "versions.tf").write_text((root / "versions.tf").read_text().replace('backend "s3" {}', ""))
    (root / "instead_override.tf").write_text(_INSTEAD)
    (root / "terraform.tfvars").write_text(_VARIABLES)
    assert terraform("init", f"-plugin-dir={root / '.terraform' / 'providers'}", folder=root).returncode == 0

    done = terraform("apply", "-auto-approve", "-target=aws_ecr_repository.platform", folder=root, **aws)
    assert done.returncode == 0, done.stderr
    repository = terraform("output", "-raw", "repository", folder=root, **aws).stdout
    assert repository.endswith("/retail-platform")

    made = [name for type_, name_, _ in declared("resource") if (name := f"{type_}.{name_}") not in _NOT_IN_MOTO]
    targets = [f"-target={name}" for name in made]
    done = terraform("apply", "-auto-approve", *targets, folder=root, **aws)
    assert done.returncode == 0, done.stderr
    state = json.loads((root / "terraform.tfstate").read_text())
    assert {f"{found['type']}.{found['name']}" for found in state["resources"] if found["mode"] == "managed"} == set(
        made
    )

    _the_lake_is_closed(
        s3_endpoint, _attributes(state, "aws_s3_bucket")["bucket"], _attributes(state, "aws_kms_key")["arn"]
    )
    _passwords_are_in_their_secrets_only(s3_endpoint, (root / "terraform.tfstate").read_text())
    _nobody_is_let_in_by_address(s3_endpoint, _attributes(state, "aws_vpc")["id"])
    _roles_reach_what_was_made(s3_endpoint, state)

    assert _would_change(root, targets, aws) == []
    done = terraform("destroy", "-auto-approve", folder=root, **aws)
    assert done.returncode != 0
    assert "lifecycle.prevent_destroy" in done.stderr


def _would_change(root: Path, targets: list[str], aws: dict[str, str]) -> list[str]:
    """What another apply would touch, but the descriptions of rules that let somebody in, which moto forgets."""
    done = terraform("plan", "-out=again.bin", *targets, folder=root, **aws)
    assert done.returncode == 0, done.stderr
    plan = json.loads(terraform("show", "-json", "again.bin", folder=root, **aws).stdout)
    touched = [entry for entry in plan["resource_changes"] if entry["change"]["actions"] not in (["no-op"], ["read"])]
    return [
        f"{entry['address']}: {entry['change']['actions']}"
        for entry in touched
        if entry["type"] != "aws_vpc_security_group_ingress_rule"
        or entry["change"]["before"] | {"description": ""} != entry["change"]["after"] | {"description": ""}
    ]


def _the_lake_is_closed(endpoint: str, bucket: str, key: str) -> None:
    s3 = _client("s3", endpoint)
    closed = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
    assert set(closed.values()) == {True}
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    (rule,) = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}
    (rule,) = s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    assert rule["NoncurrentVersionExpiration"] == {"NoncurrentDays": 14}
    assert rule["Expiration"] == {"ExpiredObjectDeleteMarker": True}
    (refusal,) = json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])["Statement"]
    assert (refusal["Effect"], refusal["Principal"], refusal["Action"]) == ("Deny", "*", "s3:*")
    assert refusal["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert set(refusal["Resource"]) == {f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"}


def _passwords_are_in_their_secrets_only(endpoint: str, state: str) -> None:
    secrets = _client("secretsmanager", endpoint)
    kafka = json.loads(secrets.get_secret_value(SecretId="AmazonMSK_retail-platform")["SecretString"])
    postgres = secrets.get_secret_value(SecretId="retail-platform/postgres")["SecretString"]
    assert kafka["username"] == "retail"
    for password in (kafka["password"], postgres):
        assert re.fullmatch(r"[A-Za-z0-9]{40}", password)
        assert password not in state
    assert kafka["password"] != postgres


def _nobody_is_let_in_by_address(endpoint: str, vpc: str) -> None:
    groups = _client("ec2", endpoint).describe_security_groups(Filters=[{"Name": "vpc-id", "Values": [vpc]}])
    rules = [rule for group in groups["SecurityGroups"] for rule in group["IpPermissions"]]
    assert sorted({rule["FromPort"] for rule in rules}) == [2049, 4000, 5432, 9096, 9098]
    assert [rule for rule in rules if rule["IpRanges"] or rule["Ipv6Ranges"] or not rule["UserIdGroupPairs"]] == []


def _roles_reach_what_was_made(endpoint: str, state: dict[str, Any]) -> None:
    iam, ecs = _client("iam", endpoint), _client("ecs", endpoint)
    bucket = _attributes(state, "aws_s3_bucket")["arn"]
    secret = _client("secretsmanager", endpoint).describe_secret(SecretId="AmazonMSK_retail-platform")["ARN"]

    def reached(role: str, service: str) -> set[str]:
        policy = iam.get_role_policy(RoleName=f"retail-platform-{role}", PolicyName="what-it-needs")["PolicyDocument"]
        return {
            resource
            for statement in policy["Statement"]
            for resource in _each(statement["Resource"])
            if any(action.startswith(f"{service}:") for action in statement["Action"])
        }

    assert reached("spark", "s3") == reached("code", "s3") == {bucket, f"{bucket}/retail/*"}
    assert reached("control", "s3") == set()
    assert reached("spark", "secretsmanager") == {secret}
    task = ecs.describe_task_definition(taskDefinition="retail-platform-code")["taskDefinition"]
    handed = {entry["name"]: entry["valueFrom"] for entry in task["containerDefinitions"][0]["secrets"]}
    assert handed["KAFKA_SASL_PASSWORD"] == f"{secret}:password::"
    assert {arn.split(":password::")[0].split(":username::")[0] for arn in handed.values()} == reached(
        "execution", "secretsmanager"
    )


def _each(found: str | list[str]) -> list[str]:
    return [found] if isinstance(found, str) else found


def _attributes(state: dict[str, Any], type_: str) -> dict[str, Any]:
    (found,) = [entry for entry in state["resources"] if entry["type"] == type_ and entry["mode"] == "managed"]
    attributes: dict[str, Any] = found["instances"][0]["attributes"]
    return attributes


def _client(service: str, endpoint: str) -> Any:
    return boto3.client(service, endpoint_url=endpoint, region_name=REGION, **_KEY)


def _aws(endpoint: str) -> dict[str, str]:
    """The environment that leads the provider to the stand-in; what that does not have is not asked for again and again."""
    key = {name.upper(): value for name, value in _KEY.items()}
    return {"AWS_ENDPOINT_URL": endpoint, "AWS_MAX_ATTEMPTS": "2", "AWS_EC2_METADATA_DISABLED": "true", **key}
