"""The Quix Streams application with its settings, and the topics that it reads and writes."""

from __future__ import annotations

from typing import Any

from quixstreams import Application
from quixstreams.kafka.configuration import ConnectionConfig
from quixstreams.models import Topic

from retail_platform import kafka
from retail_platform.contracts import TopicContract
from retail_platform.settings import Settings

#: The consumer group; the names of the changelog and repartition topics begin with it.
GROUP = "retail-reactions"

# A result is readable when its transaction is committed: this is the floor of the latency, and each commit costs.
_COMMIT_SECONDS = 0.1


def application(settings: Settings) -> Application:
    """An application in the reactions' consumer group, exactly once; run several of them and they share the partitions."""
    return Application(
        broker_address=ConnectionConfig.from_librdkafka_dict(kafka.librdkafka_options(settings)),
        consumer_group=GROUP,
        auto_offset_reset="earliest",
        processing_guarantee="exactly-once",
        commit_interval=_COMMIT_SECONDS,
        state_dir=settings.reactions_dir,
        consumer_extra_config={"fetch.wait.max.ms": 20},
        producer_extra_config={"linger.ms": 2},
        consumer_poll_timeout=0.02,
        loglevel="WARNING",
    )


def source(app: Application, contract: TopicContract) -> Topic:
    """A topic that is read raw: whether a record is valid is the contract's to say."""
    return app.topic(contract.topic, key_deserializer="bytes", value_deserializer="bytes")


def sink(app: Application, contract: TopicContract) -> Topic:
    """A topic that results are written to."""
    return app.topic(contract.topic, key_serializer="str", value_serializer="json")


def header(contract: TopicContract) -> dict[str, Any]:
    """The header by which a reader knows a record's contract."""
    return {"schema": contract.schema}
