"""The Quix Streams application with its settings, and the topics that it reads and writes."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import quixstreams.kafka.producer
from confluent_kafka import KafkaException, Producer  # type: ignore[import-untyped]
from quixstreams import Application
from quixstreams.dataframe import StreamingDataFrame
from quixstreams.internal_producer import InternalProducer
from quixstreams.kafka.configuration import ConnectionConfig
from quixstreams.models import Topic, TopicConfig
from quixstreams.models.serializers.json import JSONSerializer
from quixstreams.sinks.base import BaseSink
from quixstreams.utils.json import dumps

from retail_platform import kafka
from retail_platform.contracts import TRANSACTIONS, TopicContract
from retail_platform.reactions.applications import ReactionApplication, consumer_group, step_topic
from retail_platform.settings import Settings

# A result is readable when its transaction is committed: this is the floor of the latency, and each commit costs.
_COMMIT_SECONDS = 0.08

# How long a process that was killed holds things up: its partitions until the group misses it, and its open transaction,
# behind which nobody reads on. The defaults are 45 and 60 seconds; Kafka allows a session no less than 6.
_QUICK_TAKEOVER = {"session.timeout.ms": 6000, "heartbeat.interval.ms": 1500}
_TRANSACTION_MS = 10_000

_AS_THE_BROKER_SAYS = -1
_ASK_SECONDS = 10.0


class _AskingProducer(Producer):  # type: ignore[misc]
    """A client asks for the token that logs it in when it is polled; the library begins its transactions before it polls."""

    def init_transactions(self, *timeout: float) -> None:
        self.poll(0)
        super().init_transactions(*timeout)


quixstreams.kafka.producer.ConfluentProducer = _AskingProducer  # type: ignore[attr-defined]


def application(
    settings: Settings, which: ReactionApplication, on_message_processed: Callable[[str, int, int], None] | None = None
) -> Application:
    """One process of an application, exactly once; run several and they share the partitions."""
    group = consumer_group(settings, which)
    producing = {
        "linger.ms": 2,
        "transaction.timeout.ms": _TRANSACTION_MS,
        "transactional.id": _transactional_id(group),
    }
    return Application(
        broker_address=ConnectionConfig.from_librdkafka_dict(kafka.librdkafka_options(settings)),
        consumer_group=group,
        auto_offset_reset="earliest",
        processing_guarantee="exactly-once",
        commit_interval=_COMMIT_SECONDS,
        state_dir=settings.reactions_dir / which.name,
        consumer_extra_config={"fetch.wait.max.ms": 20, **_QUICK_TAKEOVER},
        producer_extra_config=producing,
        consumer_poll_timeout=0.05,
        on_message_processed=on_message_processed,
        loglevel="WARNING",
    )


def refused_transactions(settings: Settings, which: ReactionApplication) -> str | None:
    """What it means in one line when Kafka lets this application begin no transaction; ``None`` when it does.

    The library may lose that error to the next one, when it closes while it is being given partitions.
    """
    group = consumer_group(settings, which)
    producer = _AskingProducer({**kafka.librdkafka_options(settings), "transactional.id": _transactional_id(group)})
    try:
        producer.init_transactions(_ASK_SECONDS)
    except KafkaException as error:
        return kafka.explained(settings, str(error))
    return None


def _transactional_id(group: str) -> str:
    """Each process its own, or they would fence each other off; with the group's name, for an ACL to know them by."""
    return f"{group}-{uuid.uuid4()}"


def source(app: Application, contract: TopicContract) -> Topic:
    """A topic that is read raw: whether a record is valid is the contract's to say."""
    return app.topic(contract.topic, key_deserializer="bytes", value_deserializer="bytes")


class Sent(NamedTuple):
    """A record on its way out of a step: the topic (:func:`sink`, :func:`between`), its key, and its value, a JSON object.

    A step says of each record where it goes. With a branch for each topic the library would copy every value once a branch.
    """

    topic: Topic
    key: str
    value: dict[str, Any]


def send(records: StreamingDataFrame) -> None:
    """Write each :class:`Sent` to its topic."""
    records.to_topic(lambda sent, *_: sent.topic, key=lambda sent: sent.key)


def send_at_commit(records: StreamingDataFrame, together: Callable[[Sequence[Any]], Iterable[Sent]]) -> None:
    """Hold the records until the next commit, then write what :func:`together` makes of all of them, as part of it."""
    records.sink(_AtCommit(records.processing_context.producer, together))


class _AtCommit(BaseSink):
    """The library flushes its sinks first thing in a commit, and ends the transaction last.

    So what was held is written together with the offsets and states of the records it came from, or none of it is: a process
    that dies loses what it held, and the next one reads these records again.
    """

    def __init__(self, producer: InternalProducer, together: Callable[[Sequence[Any]], Iterable[Sent]]) -> None:
        super().__init__(on_client_connect_success=lambda: None)
        self._producer = producer
        self._together = together
        self._held: list[Any] = []

    def add(self, value: Any, *_: Any, **__: Any) -> None:
        self._held.append(value)

    def flush(self) -> None:
        held, self._held = self._held, []
        for sent in self._together(held):
            self._producer.produce(sent.topic.name, dumps(sent.value), sent.key.encode())

    def on_paused(self) -> None:
        self._held = []


_VALUE_OF_SENT = JSONSerializer(dumps=lambda sent: dumps(sent.value))


def sink(app: Application, contract: TopicContract) -> Topic:
    """A topic that results are written to."""
    return app.topic(contract.topic, key_serializer="str", value_serializer=_VALUE_OF_SENT)


def between(app: Application, settings: Settings, name: str) -> Topic:
    """A topic of the application's own, between two of its steps, where the next step needs another key.

    Also where a step has two topics to read: joined as branches, the library would keep them in step by time, and wait for
    ever for a topic whose records are all past their retention.
    """
    return app.topic(
        step_topic(settings, name),
        key_serializer="str",
        key_deserializer="str",
        value_serializer=_VALUE_OF_SENT,
        value_deserializer="json",
        config=TopicConfig(num_partitions=TRANSACTIONS.partitions, replication_factor=_AS_THE_BROKER_SAYS),
    )
