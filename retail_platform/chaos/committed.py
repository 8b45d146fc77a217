"""What a reader of committed records finds in Kafka when all is quiet, kept beside the lake for the verifier.

The topics of the shops, those that the reactions write, and those between two of their steps.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from aiokafka import AIOKafkaConsumer, TopicPartition

from retail_platform import kafka
from retail_platform.contracts import REACTION_TOPICS
from retail_platform.reactions.applications import (
    APPLICATIONS,
    ReactionApplication,
    consumer_group,
    shop_topics,
    step_topic,
)
from retail_platform.reactions.reading import records
from retail_platform.settings import Settings

_SCHEMA = pa.schema(
    {
        "topic": pa.string(),
        "partition": pa.int32(),
        "offset": pa.int64(),
        "append_ms": pa.int64(),  # since 1970, by the broker's clock
        "key": pa.binary(),
        "value": pa.binary(),
    }
)
_BATCH = 20_000
_WAIT_MS = 1000


def committed_path(settings: Settings) -> Path:
    """The copy of a chaos home."""
    return settings.retail_home / "committed.parquet"


def write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write such a file: a row a record, with ``topic``, ``partition``, ``offset``, ``append_ms``, ``key``, ``value``."""
    with pq.ParquetWriter(path, _SCHEMA, compression="zstd") as writer:
        held: list[dict[str, Any]] = []
        for row in rows:
            held.append(row)
            if len(held) == _BATCH:
                writer.write_table(pa.Table.from_pylist(held, _SCHEMA))
                held = []
        writer.write_table(pa.Table.from_pylist(held, _SCHEMA))


def copy(settings: Settings) -> None:
    """Copy all topics that the reactions read or write.

    Raises:
        RetailError: Kafka does not answer, or one of the topics is not there.
    """
    steps = [step_topic(settings, step) for one in APPLICATIONS for step in one.steps]
    topics = [contract.topic for contract in (*settings.source_topics, *REACTION_TOPICS)] + steps
    write(committed_path(settings), (row for topic in topics for row in asyncio.run(_rows(settings, topic))))


async def _rows(settings: Settings, topic: str) -> list[dict[str, Any]]:
    async with contextlib.aclosing(records(settings, topic, "start", to_end=True)) as found:
        return [
            {
                "topic": record.topic,
                "partition": record.partition,
                "offset": record.offset,
                "append_ms": record.timestamp,
                "key": record.key,
                "value": record.value,
            }
            async for record in found
        ]


def caught_up(settings: Settings, application: ReactionApplication) -> bool:
    """Whether the application has committed all that there is for it to read.

    Ask for one after the other in the order in which they read of each other, when nobody else writes any more.
    """
    return asyncio.run(_caught_up(settings, application))


async def _caught_up(settings: Settings, application: ReactionApplication) -> bool:
    told = (*shop_topics(settings, application), *application.hears)
    topics = [contract.topic for contract in told] + [step_topic(settings, step) for step in application.steps]
    reach = await asyncio.to_thread(kafka.offsets, settings, topics)
    # First how far it is, then how far it is to go: what it says in between makes it look behind, never done.
    done = await asyncio.to_thread(kafka.committed, settings, consumer_group(settings, application), reach)
    places = {
        TopicPartition(topic, number): done.get(topic, {}).get(number, first)
        for topic, parts in reach.items()
        for number, (first, _) in parts.items()
    }
    options = {**kafka.client_options(settings), "isolation_level": "read_committed"}
    async with AIOKafkaConsumer(**kafka.client_options(settings)) as plain:
        plain.assign(list(places))
        plain.pause(*places)
        ends = await plain.end_offsets(list(places))
    left = {place: offset for place, offset in places.items() if offset < ends[place]}
    if not left:
        return True
    async with AIOKafkaConsumer(**options) as consumer:
        consumer.assign(list(left))
        for place, offset in left.items():
            consumer.seek(place, offset)
        # What is left may be the marks of transactions, and what a killed process had open; a record is more than that.
        found = await consumer.getmany(timeout_ms=_WAIT_MS)
        return not found and all([await consumer.position(place) >= ends[place] for place in left])
