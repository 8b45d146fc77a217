"""The platform on a Kafka with TLS, SASL and ACLs: each part with no more than its list; each refusal is one clear line."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka.admin import AdminClient

from retail_platform import kafka
from retail_platform.contracts import PRICE_ROLLBACKS, STOCK_LEVELS, TRANSACTIONS
from retail_platform.errors import RetailError, SettingsError
from retail_platform.producer.send import send
from retail_platform.settings import PROJECT_ROOT, Settings
from retail_platform_tests.environment import environment
from retail_platform_tests.ingest.running import StreamFailed, deliver, drain, message, rows, sale
from retail_platform_tests.reactions.running import running, said, until
from retail_platform_tests.secured.broker import PASSWORD, SecuredBroker, secured_broker

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SALES = 20
#: What goes wrong at the door: the listener, what is set, and the line that it must come to.
AT_THE_DOOR = {
    "wrong password": (
        "client",
        {"kafka_sasl_password": "wrong"},
        "refuses the login of the user ingest.*KAFKA_SASL_PASSWORD",
    ),
    "unknown user": (
        "client",
        {"kafka_sasl_username": "who"},
        "refuses the login of the user who.*KAFKA_SASL_USERNAME",
    ),
    "mechanism": ("client", {"kafka_sasl_mechanism": "SCRAM-SHA-256"}, "SCRAM-SHA-256; set KAFKA_SASL_MECHANISM"),
    "expired certificate": ("expired", {}, "certificate of the broker at 127.* has expired; renew it"),
    "another host's certificate": ("elsewhere", {}, "is for another host; name the brokers in KAFKA_BOOTSTRAP_SERVERS"),
    "unknown authority": (
        "client",
        {"kafka_ssl_ca_file": "stranger"},
        "no authority that is trusted here.*KAFKA_SSL_CA_FILE",
    ),
    "no TLS": ("client", {"kafka_security_protocol": "SASL_PLAINTEXT"}, "check KAFKA_SECURITY_PROTOCOL"),
    "no certificate": ("mutual", {"kafka_security_protocol": "SSL"}, "KAFKA_SSL_CERTIFICATE_FILE"),
}


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredBroker]:
    with secured_broker(tmp_path_factory.mktemp("secured")) as broker:
        yield broker


@pytest.fixture(scope="module")
def sent(secured: SecuredBroker) -> Settings:
    """The ingest's settings, after the producer has sent what there is to ingest."""
    deliver(secured.settings("producer"), [message(sale()) for _ in range(SALES)])
    return secured.settings("ingest")


def at_the_door(secured: SecuredBroker, case: str) -> tuple[Settings, str]:
    listener, changes, line = AT_THE_DOOR[case]
    wanted: dict[str, Any] = dict(changes)
    if "kafka_ssl_ca_file" in wanted:
        wanted["kafka_ssl_ca_file"] = secured.stranger.certificate
    return secured.settings("ingest", listener, **wanted), line


def retail(settings: Settings, *arguments: str) -> tuple[int, str]:
    """Exit code and words of a ``retail`` command under these settings."""
    command = [Path(sys.executable).with_name("retail"), *arguments]
    done = subprocess.run(
        command, env=environment(settings), cwd=PROJECT_ROOT, capture_output=True, text=True, check=False
    )
    return done.returncode, " ".join((done.stdout + done.stderr).split())


# --- Each part, with no more than its list ----------------------------------------------------------------------------


def test_the_stream_takes_over_sasl_ssl_what_the_producer_sent(sent: Settings, spark: SparkSession) -> None:
    drain(spark, sent)
    silver = TRANSACTIONS.silver_table
    assert rows(sent, silver, "select count(distinct event_id) from t") == [(SALES,)]
    assert kafka.offsets(sent, [sent.kafka_topic])[sent.kafka_topic]


@pytest.mark.parametrize("case", ["wrong password", "expired certificate"])
def test_a_stream_that_is_not_let_in_says_so_in_one_line(
    secured: SecuredBroker, sent: Settings, spark: SparkSession, case: str, tmp_path: Path
) -> None:
    assert sent
    settings, line = at_the_door(secured, case)
    # Without the reactions' topics, which a drain asks after before it begins: the words are to be those of a query.
    changes = {"retail_home": tmp_path, "ingest_reactions": False}
    with pytest.raises(StreamFailed, match=line) as told:
        drain(spark, settings.model_copy(update=changes))
    assert_one_line(told.value)


def test_a_stream_that_may_see_a_topic_but_not_read_it_names_it(
    secured: SecuredBroker, spark: SparkSession, tmp_path: Path
) -> None:
    deliver(secured.settings("producer"), [message(sale())])
    settings = secured.settings("producer", ingest_reactions=False).model_copy(update={"retail_home": tmp_path})
    with pytest.raises(
        StreamFailed, match=r"the user producer may not .* the topic retail-transactions; grant"
    ) as told:
        drain(spark, settings)
    assert_one_line(told.value)


def test_the_reactions_answer_with_their_list_alone(secured: SecuredBroker) -> None:
    deliver(secured.settings("producer"), [message(sale())])
    with running(secured.settings("reactions")) as process:
        until(process, "stock levels", lambda: len(said(secured.root, STOCK_LEVELS)) > 0)


@pytest.mark.parametrize(
    ("user", "changes", "line"),
    [
        ("reactions", {"kafka_sasl_password": "wrong"}, "refuses the login of the user reactions.*KAFKA_SASL_PASSWORD"),
        ("nobody", {}, "refuses to create the topic .*have it created by a user who may"),
        ("groupless", {}, "the user groupless may not use the consumer group; grant it Read, or set REACTIONS_GROUP"),
        ("transactionless", {}, "the user transactionless may not write in transactions; grant it"),
    ],
)
def test_reactions_that_lack_something_say_what_in_one_line(
    secured: SecuredBroker, user: str, changes: dict[str, str], line: str
) -> None:
    command = [sys.executable, "-m", "retail_platform.reactions.wiring.job", "reactions"]
    env = environment(secured.settings(user, **changes))
    done = subprocess.run(command, env=env, cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 1
    (error,) = [text for text in done.stderr.splitlines() if text.startswith("error: ")]
    assert re.search(line, error)
    assert PASSWORD not in done.stderr + done.stdout


def test_who_creates_the_topics_needs_no_more_than_to_create_and_describe(secured: SecuredBroker) -> None:
    settings = secured.settings("admin")
    kafka.ensure_topics(settings)
    with pytest.raises(RetailError, match="the user admin may write to no topic; grant it Write"):
        send(settings, [message(sale())])


def test_no_part_can_do_what_another_is_for(secured: SecuredBroker) -> None:
    with pytest.raises(RetailError, match="the user ingest may write to no topic"):
        send(secured.settings("ingest"), [message(sale())])
    (refused,) = send(secured.settings("reactions"), [message(sale())]).refused
    assert re.search("the user reactions may not do this with the topic.*; grant it", refused)
    with pytest.raises(RetailError, match=rf"no topic {PRICE_ROLLBACKS.topic}.*grant Describe"):
        kafka.offsets(secured.settings("ingest"), [PRICE_ROLLBACKS.topic])


# --- What the commands say --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", AT_THE_DOOR)
def test_who_is_not_let_in_reads_why_and_what_to_set(secured: SecuredBroker, case: str) -> None:
    settings, line = at_the_door(secured, case)
    for ask in (kafka.ensure_topics, lambda settings: send(settings, [message(sale())])):
        with pytest.raises(RetailError, match=line) as told:
            ask(settings)
        assert_one_line(told.value)
    assert re.search(line, kafka.trouble(settings, timeout_seconds=5) or "")


def test_status_and_simulate_say_why_they_are_not_let_in(secured: SecuredBroker) -> None:
    settings, line = at_the_door(secured, "wrong password")
    for arguments in (("kafka", "status"), ("simulate", "--events", "1")):
        code, words = retail(settings, *arguments)
        assert code == 1
        assert re.search(line, words), words
        assert "Traceback" not in words


def test_simulate_sends_as_the_producer_and_is_told_of_a_topic_that_it_may_not_write(secured: SecuredBroker) -> None:
    code, words = retail(secured.settings("producer"), "simulate", "--start", "2026-03-02", "--events", "50")
    assert code == 0, words
    code, words = retail(secured.settings("ingest"), "simulate", "--start", "2026-03-02", "--events", "50")
    assert code == 1
    assert "the user ingest may write to no topic; grant it Write" in words


def test_a_drain_by_the_command_line_says_what_is_forbidden_and_writes_no_password(secured: SecuredBroker) -> None:
    settings = secured.settings("nobody")
    code, words = retail(settings, "stream", "drain")
    assert code == 1
    assert "this user may not see it (grant Describe)" in words
    assert "Traceback" not in words
    files = [path for path in settings.retail_home.rglob("*") if path.is_file()]
    assert any(path.name == "runs.log" for path in files)
    assert [path for path in files if PASSWORD.encode() in path.read_bytes() or b"m4rk3r-" in path.read_bytes()] == []
    assert "m4rk3r-" not in words


# --- Other ways in ----------------------------------------------------------------------------------------------------


def test_a_client_is_known_by_its_certificate_where_there_is_no_sasl(secured: SecuredBroker) -> None:
    identity = secured.authority.sign("ingest")
    settings = secured.settings(
        "ingest", "mutual", kafka_security_protocol="SSL", kafka_ssl_certificate_file=identity.both
    )
    assert kafka.offsets(settings, [settings.kafka_topic])
    assert settings.kafka_topic in AdminClient(kafka.librdkafka_options(settings)).list_topics(timeout=10).topics
    options = kafka.spark_options(settings)
    assert options["kafka.ssl.keystore.location"] == str(identity.both)
    assert options["kafka.ssl.keystore.type"] == "PEM"


def test_a_plain_login_is_let_in(secured: SecuredBroker) -> None:
    settings = secured.settings("plain", kafka_sasl_mechanism="PLAIN", kafka_sasl_password="plain-pass")
    assert kafka.is_reachable(settings, timeout_seconds=5)


def test_a_certificate_without_its_key_is_refused_by_the_settings_name(secured: SecuredBroker, tmp_path: Path) -> None:
    for file in (secured.authority.certificate, tmp_path / "none.pem"):
        settings = secured.settings("ingest", "mutual", kafka_security_protocol="SSL", kafka_ssl_certificate_file=file)
        with pytest.raises(SettingsError, match=r"KAFKA_SSL_CERTIFICATE_FILE=\S+ is not a readable PEM file"):
            kafka.client_options(settings)


def assert_one_line(error: BaseException) -> None:
    assert "\n" not in str(error)
    assert PASSWORD not in str(error)
