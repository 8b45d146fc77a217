"""The whole ingest beside one Python process (aiokafka, pyarrow, delta-rs) that writes bronze and silver, no dedupe."""

from __future__ import annotations

import asyncio
import multiprocessing
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from deltalake import write_deltalake
from pyarrow import json as pa_json

from benchmarks import load
from benchmarks.drain import WARM_UP_SHARE
from benchmarks.figures import median_ratio
from benchmarks.homes import broker, lake_beside
from benchmarks.processes import cpu_seconds
from benchmarks.progress import say
from benchmarks.streams import Pass, remove, session, whole_ingest
from retail_platform import kafka
from retail_platform.contracts import TRANSACTIONS
from retail_platform.errors import RetailError
from retail_platform.settings import Settings

_TOPIC, _WARM_UP_TOPIC = "benchmark", "benchmark-warm-up"
_FETCH_MS = 1000
_MONEY = pa.decimal128(18, 4)
_INSTANT = pa.timestamp("us", "UTC")
_STRINGS = ("event_id", "event_type", "transaction_id", "channel", "store_id", "customer_id", "currency")
_ITEM = pa.struct(
    [
        ("product_id", pa.string()),
        ("quantity", pa.int32()),
        ("unit_price", _MONEY),
        ("discount", _MONEY),
    ]
)
_EVENT = pa.schema(
    [
        *((name, pa.string()) for name in _STRINGS),
        ("event_time", _INSTANT),
        ("payment", pa.struct([("method", pa.string()), ("card_token", pa.string())])),
        ("location", pa.struct([("country", pa.string())])),
        ("items", pa.list_(_ITEM)),
    ]
)


def measure(events: int = 1_000_000, warm_up_seconds: float = 90) -> dict[str, Any]:
    """Drain ``events`` with either, twice each in opposite order; Spark's JVM is warm, Python has nothing to warm.

    Figures: rate (events/s) and cpu_per_million (CPU seconds, of all processes of each) by pass; the ratio of rates.
    """
    with broker() as settings:
        load.preload(lake_beside(settings, "", _TOPIC), events, "events into Kafka")
        warm_up_events = max(events // WARM_UP_SHARE, 1)
        load.preload(lake_beside(settings, "", _WARM_UP_TOPIC), warm_up_events, "events to warm up")
        passes = _passes(settings, events, warm_up_events, warm_up_seconds)
    rates = {name: [round(one.rate) for one in of] for name, of in passes.items()}
    cpu = {name: [round(one.cpu_per_million, 1) for one in of] for name, of in passes.items()}
    return {
        "parameters": load.parameters(settings, events),
        "figures": {
            "rate": rates,
            "cpu_per_million": cpu,
            "spark_to_python": round(median_ratio(rates["spark"], rates["python"]), 3),
            "cpu_spark": round(statistics.median(cpu["spark"]), 1),
            "cpu_python": round(statistics.median(cpu["python"]), 1),
        },
    }


def _passes(settings: Settings, events: int, warm_up_events: int, warm_up_seconds: float) -> dict[str, list[Pass]]:
    passes: dict[str, list[Pass]] = {"spark": [], "python": []}
    spark = session(settings)
    try:
        began, number = time.monotonic(), 0
        while time.monotonic() - began < warm_up_seconds:
            number += 1
            lake = lake_beside(settings, f"warm-up-{number}", _WARM_UP_TOPIC)
            whole_ingest(spark, lake, warm_up_events, f"warm-up {number}")
            remove(lake)
        for number, name in enumerate(("spark", "python", "python", "spark"), start=1):
            lake = lake_beside(settings, f"lake-{number}", _TOPIC)
            if name == "spark":
                passes[name].append(whole_ingest(spark, lake, events, f"pass {number}: spark"))
            else:
                passes[name].append(_in_a_process(lake, events, f"pass {number}: python"))
            remove(lake)
    finally:
        spark.stop()
    return passes


def _in_a_process(settings: Settings, events: int, title: str) -> Pass:
    say(f"{title}, one process …")
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        done = pool.submit(drain, settings, events).result()
    say(f"{title}: {done.rate:,.0f}/s")
    return done


def drain(settings: Settings, events: int) -> Pass:
    """Take ``events`` records of the topic into two Delta tables, in batches of the ingest's size, in this process.

    Raises:
        RetailError: the topic ended before.
    """
    cpu, began = cpu_seconds((_own_pid(),)), time.monotonic()
    taken = asyncio.run(_drain(settings, events))
    if taken != events:
        raise RetailError(f"one process took {taken} of {events} records")
    return Pass(events, time.monotonic() - began, cpu_seconds((_own_pid(),)) - cpu)


def _own_pid() -> int:
    return multiprocessing.current_process().pid or 0


async def _drain(settings: Settings, events: int) -> int:
    taken, batch = 0, 0
    async with AIOKafkaConsumer(
        **kafka.client_options(settings),
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        isolation_level="read_committed",
        max_partition_fetch_bytes=8 * 1024**2,
        fetch_max_bytes=64 * 1024**2,
    ) as consumer:
        consumer.assign([TopicPartition(settings.kafka_topic, number) for number in range(TRANSACTIONS.partitions)])
        while taken < events:
            records = await _batch(consumer, min(settings.ingest_max_offsets_per_batch, events - taken))
            if not records:
                return taken
            batch += 1
            _write(settings, bronze(settings.kafka_topic, records), "bronze", "ingest_date")
            _write(settings, silver(settings.kafka_topic, records), "silver", "business_date")
            taken += len(records)
    return taken


async def _batch(consumer: AIOKafkaConsumer, most: int) -> list[ConsumerRecord]:
    records: list[ConsumerRecord] = []
    while len(records) < most:
        fetched = await consumer.getmany(timeout_ms=_FETCH_MS, max_records=most - len(records))
        if not fetched:
            return records
        for part in fetched.values():
            records += part
    return records


def _write(settings: Settings, rows: pa.Table, name: str, partition_by: str) -> None:
    write_deltalake(settings.lake_dir / name, rows, mode="append", partition_by=[partition_by])


def bronze(topic: str, records: Sequence[ConsumerRecord]) -> pa.Table:
    """One row a record: address, append_time (UTC), key, value, ingest_date."""
    append_time = pa.array([record.timestamp for record in records], pa.timestamp("ms", "UTC")).cast(_INSTANT)
    return pa.table(
        {
            "topic": pa.repeat(topic, len(records)),
            "partition": pa.array([record.partition for record in records], pa.int32()),
            "offset": pa.array([record.offset for record in records], pa.int64()),
            "append_time": append_time,
            "key": pa.array([record.key for record in records], pa.binary()),
            "value": pa.array([record.value for record in records], pa.binary()),
            "ingest_date": append_time.cast(pa.date32()),
        }
    )


def silver(topic: str, records: Sequence[ConsumerRecord]) -> pa.Table:
    """One row a line of each record that is complete JSON, has a store and a known currency, and sells something."""
    whole = [record for record in records if record.value.endswith(b"}")]
    text = pa.py_buffer(b"\n".join(record.value for record in whole))
    options = pa_json.ParseOptions(explicit_schema=_EVENT, unexpected_field_behavior="ignore")
    events = pa_json.read_json(pa.BufferReader(text), parse_options=options).combine_chunks()
    origin = bronze(topic, whole).select(["topic", "partition", "offset", "append_time"])
    events = pa.table({**_columns(events), **_columns(origin)})
    lines = _lines(events)
    good = pc.and_(pc.is_valid(lines["store_id"]), pc.greater(lines["quantity"], 0))
    return lines.filter(pc.and_(good, pc.equal(lines["currency"], "GBP")))


def _lines(events: pa.Table) -> pa.Table:
    parents = pc.list_parent_indices(events["items"])
    header = events.drop_columns(["items", "payment", "location"]).take(parents)
    items = pc.list_flatten(events["items"])
    columns = _columns(header)
    columns |= {name: pc.struct_field(events["payment"], name).take(parents) for name in ("method", "card_token")}
    columns["country"] = pc.struct_field(events["location"], "country").take(parents)
    columns |= {entry.name: pc.struct_field(items, entry.name) for entry in _ITEM}
    gross = pc.multiply(columns["unit_price"], columns["quantity"].cast(pa.decimal128(10, 0)))
    columns["gross_amount"] = gross.cast(_MONEY)
    columns["net_amount"] = pc.subtract(gross, columns["discount"]).cast(_MONEY)
    columns["business_date"] = columns["event_time"].cast(pa.date32())
    return pa.table(columns)


def _columns(table: pa.Table) -> dict[str, Any]:
    return {name: table[name] for name in table.column_names}
