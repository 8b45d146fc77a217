"""Logins to Amazon MSK by IAM, as each kind of client tries them at a server that checks the signature as AWS does."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaException
from quixstreams.kafka.configuration import ConnectionConfig
from quixstreams.models.topics.admin import TopicAdmin

from retail_platform import kafka, msk
from retail_platform.cluster.job import start_job_run
from retail_platform.cluster.package import Release
from retail_platform.errors import RetailError, SettingsError
from retail_platform.producer.send import send
from retail_platform.reactions.applications import REACTIONS
from retail_platform.reactions.wiring.application import application
from retail_platform.settings import Settings, load_settings
from retail_platform_tests.environment import driver_environment
from retail_platform_tests.secured.msk_server import HERE, KEY, REGION, SECRET, MskServer, msk_server

SECONDS = 10


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MskServer]:
    with msk_server(tmp_path_factory.mktemp("msk")) as running:
        yield running


def settings_of(server: MskServer, folder: Path, **changes: Any) -> Settings:
    server.logins.clear()
    given = {
        "kafka_bootstrap_servers": f"{HERE}:{server.port}",
        "kafka_security_protocol": "SASL_SSL",
        "kafka_sasl_mechanism": "AWS_MSK_IAM",
        "kafka_ssl_ca_file": server.authority,
        "aws_access_key_id": KEY,
        "aws_secret_access_key": SECRET,
        "aws_region": REGION,
    }
    return load_settings(env_file=None, retail_home=folder, **given | changes)


def commands_and_producer(settings: Settings) -> None:
    assert kafka.trouble(settings, SECONDS) is None


def reactions_admin(settings: Settings) -> None:
    address = ConnectionConfig.from_librdkafka_dict(kafka.librdkafka_options(settings))
    assert TopicAdmin(address, logging.getLogger(__name__)).list_topics(SECONDS) == {}


def reactions_consumer(settings: Settings) -> None:
    with application(settings, REACTIONS).get_consumer() as consumer:
        consumer.poll(0)
        assert len(consumer.list_topics(timeout=SECONDS).brokers) == 1


def reactions_producer(settings: Settings) -> None:
    with pytest.raises(KafkaException, match="Transactions not supported by any of the 1 connected broker"):
        application(settings, REACTIONS)._producer._producer._producer  # noqa: B018  made at the first look


@pytest.mark.parametrize("client", [commands_and_producer, reactions_admin, reactions_consumer, reactions_producer])
def test_a_python_client_is_let_in_by_a_token(
    server: MskServer, tmp_path: Path, client: Callable[[Settings], None]
) -> None:
    client(settings_of(server, tmp_path, aws_session_token="t/o+k=en"))
    assert {(login.mechanism, login.let_in) for login in server.logins} == {("OAUTHBEARER", True)}
    assert server.logins[0].query["X-Amz-Security-Token"] == "t/o+k=en"
    assert SECRET not in str(server.logins)


def test_spark_is_let_in_by_the_mechanism_of_amazons_library(server: MskServer, tmp_path: Path) -> None:
    settings = settings_of(server, tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", _READ],
        env=driver_environment(settings),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert {(login.mechanism, login.let_in) for login in server.logins} == {("AWS_MSK_IAM", True)}, done.stderr
    assert "aws-msk-iam-auth" in server.logins[0].agent
    assert "UnknownTopicOrPartitionException" in done.stderr  # it is in, and there is no topic
    assert SECRET not in done.stderr + done.stdout


_READ = """
from retail_platform import kafka
from retail_platform.ingest.session import spark_session
from retail_platform.settings import get_settings

options = kafka.spark_options(get_settings()) | {"subscribe": "none", "fetchOffset.numRetries": "1"}
spark_session(get_settings(), "msk").read.format("kafka").options(**options).load().count()
"""


def test_a_signature_that_is_not_good_is_refused_in_one_line(server: MskServer, tmp_path: Path) -> None:
    settings = settings_of(server, tmp_path, aws_secret_access_key="another")
    line = (
        r"refuses the login of this AWS identity; check the AWS credentials, .* kafka-cluster:Connect on this cluster$"
    )
    assert re.search(line, kafka.trouble(settings, SECONDS) or "")
    assert {login.let_in for login in server.logins} == {False}
    with pytest.raises(RetailError, match=line):
        send(settings, [b""])


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without keys, profiles and roles."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))


@pytest.mark.usefixtures("nobody")
@pytest.mark.parametrize("options", [kafka.client_options, kafka.librdkafka_options, kafka.spark_options])
def test_who_has_no_credentials_is_told_before_any_client_tries(
    server: MskServer, tmp_path: Path, options: Callable[[Settings], dict[str, Any]]
) -> None:
    settings = settings_of(server, tmp_path, aws_access_key_id=None, aws_secret_access_key=None)
    with pytest.raises(RetailError, match="no credentials for KAFKA_SASL_MECHANISM=AWS_MSK_IAM: set AWS_ACCESS_KEY_ID"):
        options(settings)
    with pytest.raises(SettingsError, match="AWS_REGION is missing; KAFKA_SASL_MECHANISM=AWS_MSK_IAM"):
        options(settings_of(server, tmp_path, aws_region=None))
    assert server.logins == []


@pytest.mark.parametrize(
    ("brokers", "region"),
    [
        ("b-1.retail.abc123.c2.kafka.eu-central-1.amazonaws.com:9098,b-2.retail:9098", "eu-central-1"),
        ("boot-abc.c3.kafka-serverless.us-gov-west-1.amazonaws.com:9098", "us-gov-west-1"),
        ("b-1.retail.abc123.c2.kafka.cn-north-1.amazonaws.com.cn:9098", "cn-north-1"),
        ("kafka.example.com:9098", REGION),
    ],
)
def test_a_login_is_signed_for_the_region_that_the_brokers_are_in(
    server: MskServer, tmp_path: Path, brokers: str, region: str
) -> None:
    assert msk.region(settings_of(server, tmp_path, kafka_bootstrap_servers=brokers)) == region


def test_the_mechanism_needs_tls_and_no_password(server: MskServer, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="AWS_MSK_IAM goes with KAFKA_SECURITY_PROTOCOL=SASL_SSL"):
        settings_of(server, tmp_path, kafka_security_protocol="SASL_PLAINTEXT")
    with pytest.raises(SettingsError, match="AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY go together"):
        settings_of(server, tmp_path, aws_secret_access_key=None)
    on_emr = settings_of(
        server,
        tmp_path,
        kafka_ssl_ca_file=None,
        emr_serverless_application="abc",
        emr_serverless_role="arn:aws:iam::111122223333:role/stream",
        s3_bucket="lake",
    )
    release = Release("s3://lake/e", "s3://lake/p", "s3://lake/j.py", ("s3://lake/a.jar",))
    arguments = start_job_run(on_emr, release, "continuous")["jobDriver"]["sparkSubmit"]["entryPointArguments"]
    assert {"KAFKA_SASL_MECHANISM=AWS_MSK_IAM", f"AWS_REGION={REGION}"} <= set(arguments)
    assert SECRET not in str(arguments)
