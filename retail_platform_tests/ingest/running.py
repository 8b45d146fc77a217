"""Run the stream inside a test, and look at what it wrote."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from retail_platform import kafka
from retail_platform.contracts import TRANSACTIONS
from retail_platform.contracts.model import Table
from retail_platform.lakehouse.heartbeat import read_heartbeat
from retail_platform.lakehouse.manifest import manifest
from retail_platform.lakehouse.reading import rows_of
from retail_platform.producer.message import Message
from retail_platform.producer.send import send
from retail_platform.settings import PROJECT_ROOT, Settings
from retail_platform_tests.environment import driver_environment

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from retail_platform.ingest.lake import Lake
    from retail_platform.ingest.stream import Stream

_SECONDS = 120.0


def empty_topics(settings: Settings) -> None:
    """Delete every record of the contracts' topics but the compacted ones, whose records Kafka deletes for nobody."""

    async def delete() -> None:
        admin = AIOKafkaAdminClient(**kafka.client_options(settings))
        await admin.start()
        try:
            ends = kafka_ends
            await admin.delete_records(
                {
                    TopicPartition(topic, number): RecordsToDelete(before_offset=end)
                    for (topic, number), end in ends.items()
                }
            )
        finally:
            await admin.close()

    reach = kafka.offsets(settings, [contract.topic for contract in settings.topics if not contract.compacted])
    kafka_ends = {
        (t, number): last for t, parts in reach.items() for number, (first, last) in parts.items() if last > first
    }
    if kafka_ends:
        asyncio.run(delete())


def sale(**changes: Any) -> dict[str, Any]:
    """A valid sale of two lines, an hour ago; ``changes`` replace its fields."""
    event: dict[str, Any] = {
        "event_id": str(uuid.uuid4()),
        "event_type": "sale",
        "transaction_id": f"T-{uuid.uuid4().hex[:12]}",
        "event_time": (dt.datetime.now(dt.UTC) - dt.timedelta(minutes=5)).isoformat(timespec="milliseconds"),
        "channel": "pos",
        "store_id": "S001",
        "payment": {"method": "card", "card_token": "tok-1"},
        "location": {"country": "United Kingdom", "latitude": 51.5, "longitude": -0.1},
        "currency": "GBP",
        "items": [
            {"product_id": "P1", "quantity": 2, "unit_price": "10.10", "discount": "0.20"},
            {"product_id": "P2", "quantity": 1, "unit_price": 5.0125, "discount": 0},
        ],
    }
    return event | changes


def in_a_bucket(base: Settings, endpoint: str, **credentials: str) -> Settings:
    """Settings of a lake in a new, empty bucket."""
    from retail_platform.lakehouse.location import s3_client

    bucket = {"s3_bucket": f"lake-{os.urandom(4).hex()}", "s3_endpoint_url": endpoint, "aws_region": "eu-west-1"}
    settings = Settings(_env_file=None, **(base.model_dump() | bucket | credentials))
    region = {"LocationConstraint": "eu-west-1"}
    s3_client(settings).create_bucket(Bucket=settings.s3_bucket, CreateBucketConfiguration=region)
    return settings


def message(value: dict[str, Any] | bytes | None, key: str = "k", topic: str = TRANSACTIONS.topic) -> Message:
    """A message to the transactions topic."""
    raw = json.dumps(value).encode() if isinstance(value, dict) else value
    return Message(topic, key.encode(), raw, TRANSACTIONS.schema, "test")


def deliver(settings: Settings, messages: Iterable[Message]) -> None:
    """Send, and make sure that all were acknowledged."""
    report = send(settings, list(messages))
    assert report.failed == 0, report.refused


def drain(
    spark: SparkSession, settings: Settings, prepare: Callable[[Lake], None] | None = None, *, minutes: bool = False
) -> None:
    """Run the stream until Kafka is drained, then the minute sales where asked: what the job does in ``available_now``."""
    from retail_platform.ingest.lake import open_lake
    from retail_platform.ingest.stream import running_stream
    from retail_platform.lakehouse.lease import lake_lease

    with lake_lease(settings, "test"):
        lake = open_lake(spark, settings)
        if prepare:
            prepare(lake)
        with running_stream(spark, settings, lake, available_now=True) as stream:
            _await(stream)
            if minutes:
                stream.start_minute_sales()
                _await(stream)


def _await(stream: Stream) -> None:
    deadline = time.monotonic() + _SECONDS
    while not stream.finished:
        assert time.monotonic() < deadline, "the stream did not drain in time"
        time.sleep(0.05)
    failure = stream.failure()
    if failure:
        raise StreamFailed(failure)


class StreamFailed(AssertionError):
    """A query of the stream ended with an error."""


def rows(settings: Settings, table: Table, sql: str) -> list[tuple[Any, ...]]:
    """The rows of ``sql`` over a lake table, as ``t``."""
    return rows_of(manifest(settings, table), sql)


def start_drain(settings: Settings, stderr: int | None = None, **environment: str) -> subprocess.Popen[bytes]:
    """The job that drains Kafka and ends, in a process of its own."""
    command = [sys.executable, "-m", "retail_platform.ingest.job", "--mode", "available_now"]
    given = driver_environment(settings) | environment
    return subprocess.Popen(command, env=given, cwd=PROJECT_ROOT, stdin=subprocess.DEVNULL, stderr=stderr)


def silver_rows_taken(settings: Settings) -> int:
    """Rows that the transactions' silver query of a running job has taken so far, as its heartbeat says."""
    beat = read_heartbeat(settings)
    queries = beat.queries if beat is not None and beat.state == "running" else ()
    return max((query.rows for query in queries if query.name == TRANSACTIONS.silver_table.path), default=0)


def money(text: str) -> Decimal:
    """An exact amount of a silver column."""
    return Decimal(text).quantize(Decimal("0.0001"))
