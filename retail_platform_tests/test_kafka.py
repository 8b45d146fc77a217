"""Reaching Kafka: the options clients get, and the questions asked of a real broker."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from retail_platform import kafka
from retail_platform.errors import RetailError, SettingsError
from retail_platform.settings import Settings, load_settings

SASL = {
    "kafka_bootstrap_servers": "broker.example.com:9093",
    "kafka_security_protocol": "SASL_SSL",
    "kafka_sasl_username": "till",
    "kafka_sasl_password": 'se"cr\\et',
}


def with_admin(settings: Settings, do: Any) -> Any:
    """What ``do`` returns for an admin client of the broker."""

    async def run() -> Any:
        admin = AIOKafkaAdminClient(**kafka.client_options(settings))
        await admin.start()
        try:
            answer = do(admin)
            return await answer if isinstance(answer, Coroutine) else answer
        finally:
            await admin.close()

    return asyncio.run(run())


def test_without_settings_clients_go_to_the_embedded_broker() -> None:
    settings = load_settings(env_file=None)
    assert kafka.client_options(settings) == {
        "bootstrap_servers": "127.0.0.1:19092",
        "security_protocol": "PLAINTEXT",
    }
    assert kafka.spark_options(settings) == {
        "kafka.bootstrap.servers": "127.0.0.1:19092",
        "kafka.security.protocol": "PLAINTEXT",
    }


def test_credentials_reach_python_and_spark_clients_whatever_characters_they_hold() -> None:
    settings = load_settings(env_file=None, **SASL)
    options = kafka.client_options(settings)
    assert (options["sasl_mechanism"], options["sasl_plain_username"], options["sasl_plain_password"]) == (
        "SCRAM-SHA-512",
        "till",
        'se"cr\\et',
    )
    assert options["ssl_context"].check_hostname
    assert kafka.spark_options(settings) == {
        "kafka.bootstrap.servers": "broker.example.com:9093",
        "kafka.security.protocol": "SASL_SSL",
        "kafka.sasl.mechanism": "SCRAM-SHA-512",
        "kafka.sasl.jaas.config": (
            'org.apache.kafka.common.security.scram.ScramLoginModule required username="till" password="se\\"cr\\\\et";'
        ),
    }
    plain = kafka.spark_options(load_settings(env_file=None, **SASL, kafka_sasl_mechanism="PLAIN"))
    assert "plain.PlainLoginModule" in plain["kafka.sasl.jaas.config"]


def test_an_authorities_file_is_handed_to_spark_and_a_wrong_one_is_named(tmp_path: Path) -> None:
    missing = load_settings(env_file=None, **SASL, kafka_ssl_ca_file=tmp_path / "ca.pem")
    assert kafka.spark_options(missing)["kafka.ssl.truststore.location"] == str(tmp_path / "ca.pem")
    assert kafka.spark_options(missing)["kafka.ssl.truststore.type"] == "PEM"
    with pytest.raises(SettingsError, match="KAFKA_SSL_CA_FILE"):
        kafka.client_options(missing)
    (tmp_path / "ca.pem").write_text("not a certificate")
    with pytest.raises(SettingsError, match="KAFKA_SSL_CA_FILE"):
        kafka.client_options(missing)


def test_topics_are_created_as_their_contracts_say_and_only_once(broker: Settings) -> None:
    kafka.ensure_topics(broker)
    described = {entry["topic"]: entry for entry in with_admin(broker, lambda admin: admin.describe_topics())}
    for contract in broker.topics:
        assert len(described[contract.topic]["partitions"]) == contract.partitions
        wanted = kafka.topic_config(contract)
        resource = ConfigResource(ConfigResourceType.TOPIC, contract.topic)
        response = with_admin(broker, lambda admin, resource=resource: admin.describe_configs([resource]))
        found = {entry[0]: entry[1] for entry in response[0].resources[0][4]}
        assert {name: found[name] for name in wanted} == wanted
        assert found["message.timestamp.type"] == "LogAppendTime"
        assert int(found["max.message.bytes"]) > contract.max_bytes


def test_a_topic_that_keeps_the_producers_time_is_refused_by_name(broker: Settings) -> None:
    created = NewTopic("create-time", 1, 1)
    with_admin(broker, lambda admin: admin.create_topics([created]))
    with pytest.raises(
        RetailError, match=r"create-time has message\.timestamp\.type=CreateTime; set it to LogAppendTime"
    ):
        kafka.ensure_topics(broker.model_copy(update={"kafka_topic": "create-time"}))


def test_a_topic_that_kafka_refuses_is_named(broker: Settings) -> None:
    with pytest.raises(RetailError, match=r"refuses to create the topic \.\."):
        kafka.ensure_topics(broker.model_copy(update={"kafka_topic": ".."}))


def test_offsets_tell_how_far_each_partition_reaches_and_an_oversized_event_arrives(broker: Settings) -> None:
    settings = broker.model_copy(update={"kafka_topic": "reach"})
    kafka.ensure_topics(settings)
    assert kafka.offsets(settings, ["reach"]) == {"reach": dict.fromkeys(range(4), (0, 0))}

    async def produce() -> None:
        async with AIOKafkaProducer(**kafka.client_options(settings), max_request_size=6_000_000) as producer:
            for _ in range(3):
                await producer.send_and_wait("reach", b"{}", partition=1)
            await producer.send_and_wait("reach", bytes(2 * settings.topics[0].max_bytes), partition=2)

    asyncio.run(produce())
    assert kafka.offsets(settings, ["reach"]) == {"reach": {0: (0, 0), 1: (0, 3), 2: (0, 1), 3: (0, 0)}}


def test_a_missing_topic_is_named_and_not_created_by_the_question(broker: Settings) -> None:
    for _ in range(2):
        with pytest.raises(RetailError, match="no topic nowhere"):
            kafka.offsets(broker, [broker.kafka_topic, "nowhere"])


def test_a_server_that_is_not_there_is_one_line_that_names_the_setting() -> None:
    settings = load_settings(env_file=None, kafka_bootstrap_servers="127.0.0.1:1")
    assert not kafka.is_reachable(settings, timeout_seconds=5)
    for ask in (kafka.ensure_topics, lambda missing: kafka.offsets(missing, ["any"])):
        with pytest.raises(
            RetailError, match=r"no Kafka broker answers at 127\.0\.0\.1:1 .*KAFKA_BOOTSTRAP_SERVERS"
        ) as told:
            ask(settings)
        assert "\n" not in str(told.value)


def test_a_missing_embedded_broker_says_how_to_start_it(settings: Settings) -> None:
    with pytest.raises(RetailError, match="retail kafka start"):
        kafka.ensure_topics(settings.model_copy(update={"kafka_embedded_port": 1024}))


def test_a_login_that_nobody_asked_for_names_the_protocol_and_shows_no_password(broker: Settings) -> None:
    settings = load_settings(
        env_file=None,
        **SASL | {"kafka_bootstrap_servers": broker.bootstrap_servers, "kafka_security_protocol": "SASL_PLAINTEXT"},
    )
    with pytest.raises(RetailError, match="KAFKA_SECURITY_PROTOCOL") as told:
        kafka.ensure_topics(settings)
    assert "cr" + "\\et" not in str(told.value)


def test_a_server_that_never_answers_is_given_up_in_time() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        settings = load_settings(env_file=None, kafka_bootstrap_servers=f"127.0.0.1:{silent.getsockname()[1]}")
        began = time.monotonic()
        assert not kafka.is_reachable(settings, timeout_seconds=1)
        assert time.monotonic() - began < 10
