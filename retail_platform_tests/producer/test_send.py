"""Sending to a real broker: everything is acknowledged and there, once, whatever happens on the way."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from retail_platform.contracts import INVENTORY, TRANSACTIONS
from retail_platform.embedded.broker import EmbeddedBroker
from retail_platform.embedded.ports import free_port_pair
from retail_platform.errors import RetailError
from retail_platform.kafka import MAX_MESSAGE_BYTES, client_options, ensure_topics
from retail_platform.producer.message import Message
from retail_platform.producer.send import send
from retail_platform.settings import Settings, load_settings


def fresh(settings: Settings, topic: str) -> Settings:
    """The same broker with a transactions topic of its own."""
    renamed = settings.model_copy(update={"kafka_topic": topic})
    ensure_topics(renamed)
    return renamed


def message(number: int, value: bytes | None = b"{}", **more: Any) -> Message:
    return Message(TRANSACTIONS.topic, f"T{number}".encode(), value, TRANSACTIONS.schema, "transaction", **more)


def records(settings: Settings, topic: str) -> list[Any]:
    """Every record of the topic."""

    async def read() -> list[Any]:
        async with AIOKafkaConsumer(**client_options(settings), max_poll_records=5000) as consumer:
            partitions = [TopicPartition(topic, number) for number in await found(consumer)]
            consumer.assign(partitions)
            await consumer.seek_to_beginning(*partitions)
            ends = await consumer.end_offsets(partitions)
            read: list[Any] = []
            async with asyncio.timeout(30):
                while any([await consumer.position(place) < end for place, end in ends.items()]):
                    for batch in (await consumer.getmany(timeout_ms=500)).values():
                        read.extend(batch)
            return read

    async def found(consumer: AIOKafkaConsumer) -> list[int]:
        consumer.subscribe([topic])
        async with asyncio.timeout(30):
            while not (partitions := consumer.partitions_for_topic(topic)):
                await consumer.getmany(timeout_ms=100)
        consumer.unsubscribe()
        return sorted(partitions)

    return asyncio.run(read())


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    """A broker that a test may take down."""
    server = EmbeddedBroker(
        load_settings(env_file=None, retail_home=tmp_path / "home", kafka_embedded_port=free_port_pair())
    )
    server.start()
    try:
        yield server
    finally:
        server.stop()


def test_every_message_is_in_its_topic_with_key_value_and_schema(broker: Settings) -> None:
    settings = fresh(broker, "send-everything")
    moved = Message(INVENTORY.topic, b"S1:P1", b'{"send":1}', INVENTORY.schema, "movement")
    report = send(settings, [*(message(number, f'{{"n":{number}}}'.encode()) for number in range(5000)), moved])
    assert (report.sent, report.acknowledged, report.failed) == (5001, 5001, 0)
    assert report.labels == {"transaction": 5000, "movement": 1}
    assert report.rate > 0
    found = records(settings, "send-everything")
    assert {(record.key, record.value) for record in found} == {
        (f"T{number}".encode(), f'{{"n":{number}}}'.encode()) for number in range(5000)
    }
    assert len(found) == 5000
    assert {record.headers for record in found} == {(("schema", b"retail.transaction.v1"),)}
    assert len({record.partition for record in found}) == TRANSACTIONS.partitions
    assert (b"S1:P1", b'{"send":1}') in {(record.key, record.value) for record in records(settings, INVENTORY.topic)}


def test_messages_of_one_key_keep_their_order(broker: Settings) -> None:
    settings = fresh(broker, "send-order")
    send(settings, (message(number % 7, str(number).encode()) for number in range(3000)))
    by_key: dict[bytes, list[int]] = {}
    for record in records(settings, "send-order"):
        by_key.setdefault(record.key, []).append(int(record.value))
    assert all(values == sorted(values) for values in by_key.values())


def test_a_tombstone_arrives_as_no_value(broker: Settings) -> None:
    settings = fresh(broker, "send-tombstone")
    send(settings, [message(1, None)])
    assert [record.value for record in records(settings, "send-tombstone")] == [None]


def test_each_acknowledgement_tells_where_the_message_is(broker: Settings) -> None:
    settings = fresh(broker, "send-ledger")
    ledger: dict[tuple[int, int], bytes | None] = {}
    progress: list[int] = []
    send(
        settings,
        (message(number, str(number).encode()) for number in range(2000)),
        on_progress=progress.append,
        on_acknowledged=lambda sent, partition, offset: ledger.update({(partition, offset): sent.value}),
    )
    assert ledger == {(record.partition, record.offset): record.value for record in records(settings, "send-ledger")}
    assert progress[-1] == 2000


def test_a_rate_is_kept(broker: Settings) -> None:
    report = send(fresh(broker, "send-rate"), (message(number) for number in range(400)), rate=400)
    assert report.seconds >= 0.99
    assert report.rate <= 405


def test_a_speed_follows_the_messages_own_clock(broker: Settings) -> None:
    messages = [message(number, due=number * 60.0) for number in range(4)]
    assert send(fresh(broker, "send-speed"), messages, speed=180).seconds >= 0.98


def test_a_message_too_large_for_kafka_is_counted_and_the_others_are_sent(broker: Settings) -> None:
    largest = MAX_MESSAGE_BYTES - 5000
    settings = fresh(broker, "send-too-large")
    sizes = [10, largest, largest + 1000, 20, 30]
    report = send(settings, [message(1, os.urandom(size)) for size in sizes])
    assert (report.sent, report.acknowledged, report.failed) == (5, 4, 1)
    assert "MessageSizeTooLarge" in report.refused[0]
    assert [len(record.value) for record in records(settings, "send-too-large")] == [10, largest, 20, 30]


def test_a_callback_that_fails_ends_the_sending_with_its_error(broker: Settings) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        send(fresh(broker, "send-hook"), [message(1)], on_acknowledged=fail)


def test_ctrl_c_sends_what_is_under_way_and_reports(broker: Settings) -> None:
    settings = fresh(broker, "send-interrupt")

    def interrupt(_message: Message, _partition: int, _offset: int) -> None:
        if next(count) == 100:
            os.kill(os.getpid(), signal.SIGINT)

    count = itertools.count()
    report = send(settings, (message(n) for n in range(100_000)), rate=500, on_acknowledged=interrupt)
    assert report.interrupted
    assert 100 < report.acknowledged == report.sent < 100_000
    assert len(records(settings, "send-interrupt")) == report.acknowledged


def test_a_broker_that_restarts_midway_loses_and_repeats_nothing(own_broker: EmbeddedBroker) -> None:
    settings = fresh(own_broker.settings, "send-restart")
    halfway = threading.Event()

    def watch(acknowledged: int) -> None:
        if acknowledged > 1000:
            halfway.set()

    def restart() -> None:
        assert halfway.wait(30)
        own_broker.stop()
        own_broker.start()

    restarting = threading.Thread(target=restart)
    restarting.start()
    report = send(settings, (message(number, str(number).encode()) for number in range(6000)), 1000, watch)
    restarting.join()
    assert (report.acknowledged, report.failed) == (6000, 0)
    values = [record.value for record in records(settings, "send-restart")]
    assert sorted(values, key=int) == [str(number).encode() for number in range(6000)]


def test_a_broker_that_stays_away_is_given_up_with_the_count_of_what_is_there(own_broker: EmbeddedBroker) -> None:
    settings = fresh(own_broker.settings, "send-given-up")

    def stop(acknowledged: int) -> None:
        if acknowledged > 100 and stopping.ident is None:
            stopping.start()

    stopping = threading.Thread(target=own_broker.stop)
    with pytest.raises(RetailError, match=r"acknowledged nothing for 3 s; \d+ of \d+ messages are surely there"):
        send(settings, (message(number) for number in range(100_000)), 500, stop, delivery_timeout=3)
    stopping.join()


@pytest.mark.parametrize(
    ("values", "mend"),
    [
        ({"kafka_bootstrap_servers": "127.0.0.1:1"}, "KAFKA_BOOTSTRAP_SERVERS"),
        ({"kafka_embedded_port": 1024}, "retail kafka start"),
    ],
)
def test_a_broker_that_cannot_be_reached_is_one_clear_line(values: dict[str, Any], mend: str) -> None:
    with pytest.raises(RetailError, match=mend):
        send(load_settings(env_file=None, **values), [message(1)])


def test_a_missing_topic_is_named(broker: Settings) -> None:
    with pytest.raises(RetailError, match="no topic not-there"):
        send(broker.model_copy(update={"kafka_topic": "not-there"}), [message(1)])
