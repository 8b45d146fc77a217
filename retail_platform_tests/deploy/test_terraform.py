"""``deploy/aws``: what needs no provider. The plan module by Terraform itself, the rest against the schema of the provider."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

from retail_platform.settings import Settings
from retail_platform_tests.deploy.aws_schema import AWS, SCHEMA, complaints, declared, parsed, plain
from retail_platform_tests.deploy.containers import compose
from retail_platform_tests.deploy.terraform import needs_terraform, terraform

#: Settings that come from the account's own: the names that the containers are told.
NAME = re.compile(r"^ +([A-Z][A-Z0-9_]+) += ", re.MULTILINE)


def text() -> str:
    """All of the root module, without comments."""
    return "\n".join(re.sub(r"(?m)^\s*#.*$", "", path.read_text(encoding="utf-8")) for path in sorted(AWS.glob("*.tf")))


@needs_terraform
def test_every_file_is_as_terraform_formats_it() -> None:
    done = terraform("fmt", "-check", "-recursive")
    assert done.returncode == 0, done.stdout + done.stderr


@needs_terraform
def test_addresses_policies_and_environments_are_right(tmp_path: Path) -> None:
    """`terraform test` of the module that needs no provider: its assertions are in plan/tests."""
    folder = shutil.copytree(AWS / "plan", tmp_path / "plan", ignore=shutil.ignore_patterns(".terraform*"))
    done = terraform("init", folder=folder)
    assert done.returncode == 0, done.stderr
    done = terraform("test", folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"Success! [1-9]\d* passed, 0 failed", done.stdout)


def test_the_provider_knows_every_argument_and_misses_none() -> None:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    wrong = [
        complaint
        for kind in ("resource", "data")
        for type_, name, body in declared(kind)
        for complaint in complaints(f"{kind} {type_}.{name}", body, schema[f"{kind} {type_}"])
    ]
    assert wrong == []


def test_an_argument_that_the_provider_does_not_know_and_one_that_it_misses_are_found() -> None:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))["resource aws_msk_cluster"]
    ((_, _, cluster),) = [entry for entry in declared("resource") if entry[0] == "aws_msk_cluster"]
    (brokers,) = cluster["broker_node_group_info"]
    broken = {**cluster, "colour": "red", "broker_node_group_info": [{**brokers, "disc": 1}]}
    del broken["kafka_version"]
    assert complaints("c", broken, schema) == [
        "c: no argument colour",
        "c: kafka_version is missing",
        "c.broker_node_group_info: no argument disc",
    ]


def test_every_reference_leads_to_what_is_declared_and_every_variable_is_used() -> None:
    whole = text()
    blocks = plain(parsed())
    there = {f"{type_}.{name}" for type_, name, _ in declared("resource")}
    data = {f"{type_}.{name}" for type_, name, _ in declared("data")}
    ephemeral = {f"{type_}.{name}" for type_, name, _ in declared("ephemeral")}
    variables = {name for entry in blocks["variable"] for name in entry}
    local = {name for entry in blocks["locals"] for name in entry if not name.startswith("__")}
    outputs = {name for entry in plain(parsed(AWS / "plan"))["output"] for name in entry}
    inputs = {name for entry in plain(parsed(AWS / "plan"))["variable"] for name in entry}
    (plan,) = [body for entry in blocks["module"] for body in entry.values()]

    assert set(re.findall(r"(?<![\w.\"])(aws_\w+\.\w+)", whole)) - there == set()
    assert set(re.findall(r"\bdata\.(\w+\.\w+)", whole)) - data == set()
    assert set(re.findall(r"\bephemeral\.(\w+\.\w+)", whole)) - ephemeral == set()
    assert set(re.findall(r"\bvar\.(\w+)", whole)) == variables
    assert set(re.findall(r"\blocal\.(\w+)", whole)) == local
    assert set(re.findall(r"\bmodule\.plan\.(\w+)", whole)) == outputs
    assert set(plan) - {"source"} == inputs


def test_the_containers_are_told_settings_that_the_platform_has() -> None:
    told = set(NAME.findall((AWS / "plan" / "main.tf").read_text(encoding="utf-8")))
    told |= set(NAME.findall((AWS / "plan" / "outputs.tf").read_text(encoding="utf-8")))
    assert {"KAFKA_BOOTSTRAP_SERVERS", "KAFKA_SASL_PASSWORD", "DAGSTER_POSTGRES_HOST"} <= told
    assert told - {name.upper() for name in Settings.model_fields} == set()


def test_the_services_are_those_of_compose_with_the_same_commands_and_health_checks() -> None:
    (services,) = [entry["services"] for entry in plain(parsed())["locals"] if "services" in entry]
    theirs = {name: compose()["services"][name] for name in ("code", "webserver", "daemon")}
    assert set(services) == set(theirs)
    for name, service in services.items():
        assert plain(service["command"]) == theirs[name]["command"]
        assert [word.replace('\\"', '"') for word in plain(service["health"])] == theirs[name]["healthcheck"]["test"]


def test_all_data_at_rest_is_under_the_platforms_key_and_nothing_is_public() -> None:
    found = {f"{type_}.{name}": body for type_, name, body in declared("resource")}
    key = "${aws_kms_key.data.arn}"
    holders = {
        "aws_db_instance.dagster": "kms_key_id",
        "aws_efs_file_system.state": "kms_key_id",
        "aws_cloudwatch_log_group.part": "kms_key_id",
        "aws_secretsmanager_secret.kafka": "kms_key_id",
        "aws_secretsmanager_secret.postgres": "kms_key_id",
    }
    assert {name: found[name][argument] for name, argument in holders.items()} == dict.fromkeys(holders, key)
    kinds = {"aws_db_instance", "aws_efs_file_system", "aws_cloudwatch_log_group", "aws_secretsmanager_secret"}
    assert {name for name in found if name.partition(".")[0] in kinds} == set(holders)
    (encryption,) = found["aws_msk_cluster.main"]["encryption_info"]
    assert encryption["encryption_at_rest_kms_key_arn"] == key
    assert encryption["encryption_in_transit"][0]["client_broker"] == "TLS"
    assert found["aws_msk_cluster.main"]["client_authentication"][0]["unauthenticated"] is False
    assert set(map(str, found["aws_s3_bucket_public_access_block.lake"].values())) == {
        "${aws_s3_bucket.lake.id}",
        "True",
    }
    assert found["aws_db_instance.dagster"]["publicly_accessible"] is False
    assert _incoming(found) == ["${aws_security_group.part[each.value.from].id}"]


def _incoming(found: dict[str, Any]) -> list[str]:
    """Who may open connections: security groups only, never addresses."""
    rules = [body for name, body in found.items() if name.startswith("aws_vpc_security_group_ingress_rule.")]
    assert not any("cidr_ipv4" in rule or "cidr_ipv6" in rule for rule in rules)
    return [rule["referenced_security_group_id"] for rule in rules]


def test_no_password_is_in_the_state() -> None:
    """Passwords are ephemeral, and go into write-only arguments."""
    whole = text()
    kept = [name for type_, name, body in declared("resource") if {"password", "secret_string"} & set(body)]
    assert kept == []
    assert len(re.findall(r"\b(?:password|secret_string)_wo *= .*ephemeral\.", whole)) == 3
    # Each opening makes another password: used in two places, it would be two.
    used = re.findall(r"ephemeral\.aws_secretsmanager_random_password\.(\w+)", whole)
    assert sorted(used) == ["kafka", "postgres"]
