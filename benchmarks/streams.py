"""Three Spark streams that drain the same topic: the whole ingest, and two minimal ones to compare it with."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.streaming.query import StreamingQuery

from benchmarks.figures import per_million
from benchmarks.processes import cpu_seconds
from benchmarks.progress import counted
from retail_platform import kafka
from retail_platform.contracts import TRANSACTIONS
from retail_platform.contracts.model import Field, Record, Records
from retail_platform.errors import RetailError
from retail_platform.ingest.lake import open_lake
from retail_platform.ingest.session import jvm_pid, spark_session
from retail_platform.ingest.stream import Stream, running_stream
from retail_platform.lakehouse.lease import lake_lease
from retail_platform.settings import Settings

_LOOK_SECONDS = 0.05
_TELL_SECONDS = 2.0
_MOST_BATCHES = 10_000


@dataclass(frozen=True, slots=True)
class Pass:
    """One drain: how many events, in how long, for how many CPU seconds (the driver's Python and its JVM).

    ``batch_seconds`` are the micro-batches' times, ``minute_sales_seconds`` what the minute sales took afterwards.
    """

    events: int
    seconds: float
    cpu_seconds: float
    batch_seconds: list[float] = field(default_factory=list)
    minute_sales_seconds: float | None = None

    @property
    def rate(self) -> float:
        """Events a second."""
        return self.events / self.seconds

    @property
    def cpu_per_million(self) -> float:
        """CPU seconds for each million of events."""
        return per_million(self.cpu_seconds, self.events)


Drain = Callable[[SparkSession, Settings, int, str], Pass]


def session(settings: Settings) -> SparkSession:
    """The project's own Spark session, which remembers the progress of every batch."""
    spark = spark_session(settings, "retail-benchmark")
    spark.conf.set("spark.sql.streaming.numRecentProgressUpdates", _MOST_BATCHES)
    return spark


def whole_ingest(
    spark: SparkSession, settings: Settings, events: int, title: str, *, minute_sales: bool = True
) -> Pass:
    """Drain ``events`` records with the project's own stream: bronze, silver, quarantine, dedupe, ledger.

    The tables are created before the clock starts; the minute sales are drained after it has stopped, and timed apart,
    unless there is to be no ``minute_sales``.

    Raises:
        RetailError: a query failed, or took another number of records.
    """
    with lake_lease(settings, "benchmark"):
        lake = open_lake(spark, settings)
        began, cpu = time.monotonic(), _cpu(spark)
        with running_stream(spark, settings, lake, available_now=True) as stream:
            silver = next(handle for handle in stream.handles if handle.name == TRANSACTIONS.silver_table.path)
            _await(lambda: stream.finished, lambda: _rows(silver.query), events, title)
            seconds, cpu = time.monotonic() - began, _cpu(spark) - cpu
            _refuse_failure(stream)
            _refuse_short(silver.query, events)
            minutes = _minute_sales(stream) if minute_sales else None
            return Pass(events, seconds, cpu, _batch_seconds(silver.query), minutes)


def parse_only(spark: SparkSession, settings: Settings, events: int, title: str) -> Pass:
    """Drain into one table of the silver lines' columns: ``from_json``, one row a line, and Delta's own sink."""
    lines = parsed_lines(kafka_source(spark, settings))
    return _native(spark, settings, lines, events, title)


def append_only(spark: SparkSession, settings: Settings, events: int, title: str) -> Pass:
    """Drain the raw values into one table, with Delta's own sink."""
    return _native(spark, settings, kafka_source(spark, settings).select("value"), events, title)


STREAMS: dict[str, Drain] = {"whole_ingest": whole_ingest, "parse_only": parse_only, "append_only": append_only}


def kafka_source(spark: SparkSession, settings: Settings) -> DataFrame:
    """The topic as the project's own stream reads it."""
    reader = spark.readStream.format("kafka").options(**kafka.spark_options(settings))
    return (
        reader.option("subscribe", settings.kafka_topic)
        .option("startingOffsets", "earliest")
        .option("maxOffsetsPerTrigger", settings.ingest_max_offsets_per_batch)
        .option("kafka.isolation.level", "read_committed")
        .option("kafka.fetch.max.wait.ms", "50")
        .load()
    )


def parsed_lines(records: DataFrame) -> DataFrame:
    """Typed by ``from_json``, exploded by item, amounts computed; what cannot be parsed is dropped."""
    value = F.col("value").cast("string")
    # Within an array, or from_json would be evaluated once for every column.
    events = records.select(
        "topic",
        "partition",
        "offset",
        F.col("timestamp").alias("append_time"),
        F.explode(F.array(F.from_json(value, _schema(TRANSACTIONS.fields)))).alias("e"),
    )
    lines = events.select("*", F.posexplode("e.items").alias("position", "i"))
    typed = lines.select(
        *(F.col(f"e.{leaf.path}").alias(leaf.column) for leaf in TRANSACTIONS.header_leaves),
        (F.col("position") + 1).alias("line_number"),
        *(F.col(f"i.{leaf.field.name}").alias(leaf.column) for leaf in TRANSACTIONS.line_leaves),
        F.to_date("e.event_time").alias("business_date"),
        *("topic", "partition", "offset", "append_time"),
    )
    return typed.withColumns({entry.name: F.expr(entry.expression) for entry in TRANSACTIONS.derived})


def _schema(fields: tuple[Field, ...]) -> str:
    return ", ".join(f"`{entry.name}` {_type(entry)}" for entry in fields)


def _type(entry: Field) -> str:
    if isinstance(entry.type, Record):
        return f"struct<{_schema(entry.type.fields).replace('` ', '`: ')}>"
    if isinstance(entry.type, Records):
        return f"array<struct<{_schema(entry.type.fields).replace('` ', '`: ')}>>"
    return entry.type.column_type.spark


def _native(spark: SparkSession, settings: Settings, rows: DataFrame, events: int, title: str) -> Pass:
    began, cpu = time.monotonic(), _cpu(spark)
    query = (
        rows.writeStream.format("delta")
        .queryName(title)
        .option("checkpointLocation", str(settings.checkpoints_dir / "minimal"))
        .trigger(availableNow=True)
        .start(str(settings.lake_dir / "minimal"))
    )
    _await(lambda: not query.isActive, lambda: _rows(query), events, title)
    seconds, cpu = time.monotonic() - began, _cpu(spark) - cpu
    error = query.exception()
    if error is not None:
        raise RetailError(f"{title} failed: {error}")
    _refuse_short(query, events)
    return Pass(events, seconds, cpu, _batch_seconds(query))


def remove(settings: Settings) -> None:
    """Remove a lake and its checkpoints."""
    shutil.rmtree(settings.retail_home)


def _minute_sales(stream: Stream) -> float:
    began = time.monotonic()
    stream.start_minute_sales()
    while not stream.finished:
        time.sleep(_LOOK_SECONDS)
    _refuse_failure(stream)
    return time.monotonic() - began


def _await(finished: Callable[[], bool], rows: Callable[[], int], events: int, title: str) -> None:
    with counted(title, events) as told:
        next_look = time.monotonic() + _TELL_SECONDS
        while not finished():
            time.sleep(_LOOK_SECONDS)
            if time.monotonic() > next_look:
                told(rows())
                next_look = time.monotonic() + _TELL_SECONDS
        told(rows())


def _batches(query: StreamingQuery) -> dict[int, tuple[int, float]]:
    """Rows and seconds by batch, of those that had any."""
    return {
        event.batchId: (event.numInputRows, event.durationMs["triggerExecution"] / 1000)
        for event in query.recentProgress
        if event.numInputRows
    }


def _rows(query: StreamingQuery) -> int:
    return sum(rows for rows, _ in _batches(query).values())


def _batch_seconds(query: StreamingQuery) -> list[float]:
    return [seconds for _, seconds in _batches(query).values()]


def _refuse_failure(stream: Stream) -> None:
    failure = stream.failure()
    if failure:
        raise RetailError(f"the stream failed: {failure}")


def _refuse_short(query: StreamingQuery, events: int) -> None:
    """No figure of a drain that was not one."""
    taken = _rows(query)
    if taken != events:
        raise RetailError(f"{query.name} took {taken} of {events} records")


def _cpu(spark: SparkSession) -> float:
    return cpu_seconds((os.getpid(), jvm_pid(spark)))
