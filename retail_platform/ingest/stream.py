"""The ingest stream: its queries wired to Kafka, their batches and checkpoints; started, watched, stopped."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from pyspark.errors import StreamingQueryException
from pyspark.sql import DataFrame, SparkSession

from retail_platform import kafka
from retail_platform.contracts import TRANSACTIONS
from retail_platform.contracts.model import TopicContract
from retail_platform.errors import RetailError
from retail_platform.ingest.bronze import BronzeBatches
from retail_platform.ingest.lake import Lake
from retail_platform.ingest.minute_sales import MinuteSalesBatches
from retail_platform.ingest.query import QueryHandle
from retail_platform.ingest.silver import SilverBatches, first_deliveries
from retail_platform.ingest.spark_config import POOL_BEHIND, POOL_SILVER
from retail_platform.ingest.transforms import BusinessCalendar, records
from retail_platform.lakehouse.checkpoints import Offsets, checkpoint, has_begun, misfits, recovery_of
from retail_platform.lakehouse.heartbeat import QueryProgress
from retail_platform.lakehouse.losses import ACCEPT_LOSS, RECOVER
from retail_platform.settings import Settings

# Nobody waits for these: as often as silver they would take half of its time from it. What the reactions say, and are told,
# is read from their topics by who acts on it. What is enough for a whole batch is taken at the next look.
BRONZE_DELAY_SECONDS = 5
REACTIONS_DELAY_SECONDS = 15
_REACTIONS_LOOK_SECONDS = 5
MINUTE_SALES_TRIGGER_SECONDS = 60
_STOP_SECONDS = 60.0
_EARLIEST = -2  # in Spark's offsets
# The last line of a Python traceback: the exception's name, a colon, and what it says.
_RAISED = re.compile(r"^[A-Za-z_][\w.]*\.[A-Z]\w*: \S")

#: What everybody says of a full disk, and what to do about it.
FULL_DISK = "No space left on device"
MAKE_ROOM = "; make room on the disk of RETAIL_HOME: nothing is lost, and the next start goes on where this one ended"

_DATA_LOSS = ("KAFKA_DATA_LOSS", "OffsetOutOfRange", "failOnDataLoss")

BatchFunction = Callable[[DataFrame, int], None]


@dataclass
class Stream:
    """The running queries of one driver."""

    spark: SparkSession
    settings: Settings
    lake: Lake
    available_now: bool
    stopping: threading.Event = field(default_factory=threading.Event)
    handles: list[QueryHandle] = field(default_factory=list)
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(4, "write"))
    _rows: dict[str, int] = field(default_factory=dict)
    _counted: dict[str, int] = field(default_factory=dict)

    def start(self) -> None:
        """Start the queries that read Kafka; and, when it is to stay, the one that reads silver."""
        self._start_bronze()
        idle = self._idle() if self.available_now else ()
        for contract in self.settings.topics:
            if contract not in idle:
                self._start_silver(contract)
        if not self.available_now:
            self.start_minute_sales()

    def _start_bronze(self) -> None:
        handle = self._handle("bronze/events")
        topics = [contract.topic for contract in self.settings.topics]
        source = records(self._kafka(handle, topics, BRONZE_DELAY_SECONDS))
        batches = BronzeBatches(handle, self.lake.bronze, self.lake.ledger)
        self._run(handle, source, batches, POOL_BEHIND, self.settings.ingest_trigger_seconds)

    def _idle(self) -> list[TopicContract]:
        """The reactions' topics that are empty and were never read: most drains run where no reaction does."""
        sources = self.settings.source_topics
        unread = [
            contract
            for contract in self.settings.topics
            if contract not in sources and not has_begun(checkpoint(self.settings, contract.silver_table.path))
        ]
        reach = kafka.offsets(self.settings, [contract.topic for contract in unread]) if unread else {}
        return [each for each in unread if all(first == last for first, last in reach[each.topic].values())]

    def _start_silver(self, contract: TopicContract) -> None:
        silver = self.lake.silver_of(contract)
        handle = self._handle(silver.table.path)
        horizon = dt.timedelta(minutes=self.settings.ingest_dedupe_horizon_minutes)
        days = calendar(self.settings)
        recovery = recovery_of(checkpoint(self.settings, handle.name))
        forgotten_at = recovery.recovered_at if recovery else None
        awaited = contract in self.settings.source_topics
        kafka_rows = self._kafka(handle, [contract.topic], 0 if awaited else REACTIONS_DELAY_SECONDS)
        rows = first_deliveries(kafka_rows, contract, days, horizon, forgotten_at)
        count = None if self.settings.spark_is_local else self._count
        batches = SilverBatches(
            handle, contract, days, horizon, silver, self.lake.quarantine, self.lake.ledger, self._pool, count
        )
        seconds, pool = self.settings.ingest_trigger_seconds, POOL_SILVER
        if not awaited:
            seconds, pool = max(_REACTIONS_LOOK_SECONDS, seconds), POOL_BEHIND
        self._run(handle, rows, batches, pool, seconds)

    def start_minute_sales(self) -> None:
        """Start the query that keeps the minute sales, from silver."""
        silver = self.lake.silver_of(TRANSACTIONS)
        handle = self._handle(self.lake.minutes.table.path)
        rows = self.spark.readStream.format("delta").option("skipChangeCommits", "true").load(silver.path)
        batches = MinuteSalesBatches(handle, silver, self.lake.minutes)
        self._run(handle, rows, batches, POOL_BEHIND, MINUTE_SALES_TRIGGER_SECONDS)

    def failure(self) -> str | None:
        """Why a query ended that should not have; ``None`` when none did."""
        for handle in self.handles:
            error = handle.query.exception()
            if error is not None and not _asked_for(error):
                cause = kafka.explained(self.settings, str(error)) or _root_cause(error)
                return f"{handle.name}: {cause}{_mend(error)}"
        return None

    @property
    def finished(self) -> bool:
        """Whether every query has ended."""
        return not any(handle.query.isActive for handle in self.handles)

    def progress(self) -> tuple[QueryProgress, ...]:
        """What each query has done since the start, from Spark's own progress events."""
        return tuple(self._progress(handle) for handle in self.handles)

    def stop(self) -> None:
        """End each query between two batches; a batch that does not end in a minute is interrupted (and runs again)."""
        self.stopping.set()
        deadline = time.monotonic() + _STOP_SECONDS
        for handle in self.handles:
            if not handle.has_started:
                continue
            query = handle.query
            while query.isActive:
                if not query.status["isTriggerActive"] or time.monotonic() > deadline:
                    with contextlib.suppress(StreamingQueryException):
                        query.stop()
                else:
                    time.sleep(0.05)
            # A query that has ended is on Spark's list of those that run for a moment more.
            with contextlib.suppress(StreamingQueryException):
                query.awaitTermination(int(_STOP_SECONDS))
        self._pool.shutdown()

    # --- Wiring ---------------------------------------------------------------------------------------------------

    def _kafka(self, handle: QueryHandle, topics: Sequence[str], delay: float) -> DataFrame:
        """The records of ``topics``; in a continuous stream fewer than a batch takes wait for ``delay`` seconds."""
        reader, most = self.spark.readStream.format("kafka"), self.settings.ingest_max_offsets_per_batch
        if delay and not self.available_now:  # which would leave unread what is less than a batch
            reader = reader.option("minOffsetsPerTrigger", most).option("maxTriggerDelay", f"{delay}s")
        rows = (
            reader.options(**self._kafka_options)
            .option("subscribe", ",".join(topics))
            .option("startingOffsets", self._starting_offsets(handle, topics))
            .option("failOnDataLoss", "true")
            .option("includeHeaders", "true")
            .option("maxOffsetsPerTrigger", most)
            .option("kafka.fetch.max.wait.ms", "50")
            .load()
        )
        # A task for each partition of Kafka costs more than it brings where there are fewer cores than partitions. A cluster's
        # cores come and go, and are not there yet when the stream starts.
        return rows.coalesce(self.spark.sparkContext.defaultParallelism) if self.settings.spark_is_local else rows

    @property
    def _kafka_options(self) -> dict[str, str]:
        return {**kafka.spark_options(self.settings), "kafka.isolation.level": "read_committed"}

    def _count(self, start: Offsets, end: Offsets) -> int:
        """The records from ``start`` (the earliest where it names no offset) to ``end``, counted by a job of its own."""
        first = {
            topic: {partition: start.get(topic, {}).get(partition, _EARLIEST) for partition in partitions}
            for topic, partitions in end.items()
        }
        reader = self.spark.read.format("kafka").options(**self._kafka_options)
        reader = reader.option("startingOffsets", json.dumps(first)).option("endingOffsets", json.dumps(end))
        assigned = {topic: [int(partition) for partition in partitions] for topic, partitions in end.items()}
        return reader.option("assign", json.dumps(assigned)).load().count()

    def _starting_offsets(self, handle: QueryHandle, topics: Sequence[str]) -> str:
        """Where a query begins that has no batch yet; Spark wants every partition named, and goes by its checkpoint after."""
        if not handle.first or has_begun(checkpoint(self.settings, handle.name)):
            return "earliest"
        known = kafka.offsets(self.settings, topics)
        return json.dumps(
            {
                topic: {str(number): handle.first.get(topic, {}).get(str(number), _EARLIEST) for number in partitions}
                for topic, partitions in known.items()
            }
        )

    def _handle(self, name: str) -> QueryHandle:
        where = checkpoint(self.settings, name)
        recovery = recovery_of(where)
        first = recovery.starting_offsets if recovery else {}
        handle = QueryHandle(name, where, self.stopping, first)
        self.handles.append(handle)
        return handle

    def _run(self, handle: QueryHandle, rows: DataFrame, batches: BatchFunction, pool: str, seconds: float) -> None:
        # Nobody waits for silver alone when the stream ends only once all of it has drained: even shares are sooner done.
        self.spark.sparkContext.setLocalProperty("spark.scheduler.pool", handle.name if self.available_now else pool)
        writer = (
            rows.writeStream.queryName(handle.name)
            .option("checkpointLocation", str(handle.checkpoint))
            .foreachBatch(batches)
        )
        trigger: dict[str, Any] = (
            {"availableNow": True} if self.available_now else {"processingTime": f"{int(seconds * 1000)} milliseconds"}
        )
        handle.started(writer.trigger(**trigger).start())

    def _progress(self, handle: QueryHandle) -> QueryProgress:
        last = handle.query.lastProgress
        for event in handle.query.recentProgress:
            if event.batchId > self._counted.get(handle.name, -1):
                self._counted[handle.name] = event.batchId
                self._rows[handle.name] = self._rows.get(handle.name, 0) + event.numInputRows
        if last is None:
            return QueryProgress(handle.name)
        behind = [source.metrics.get("maxOffsetsBehindLatest") for source in last.sources]
        return QueryProgress(
            handle.name,
            last.batchId,
            self._rows.get(handle.name, 0),
            round(last.processedRowsPerSecond or 0.0, 1),
            max((int(lag) for lag in behind if lag is not None), default=None),
            round(last.durationMs.get("triggerExecution", 0) / 1000, 3),
        )


def calendar(settings: Settings) -> BusinessCalendar:
    """What decides an event's business date."""
    return BusinessCalendar(settings.business_timezone, settings.partitions_start_date)


@contextlib.contextmanager
def running_stream(spark: SparkSession, settings: Settings, lake: Lake, *, available_now: bool) -> Iterator[Stream]:
    """Start a stream, and stop it at the end, however that comes."""
    _refuse_foreign_checkpoints(settings, lake)
    stream = Stream(spark, settings, lake, available_now)
    try:
        stream.start()
        yield stream
    finally:
        stream.stop()


def _refuse_foreign_checkpoints(settings: Settings, lake: Lake) -> None:
    found = misfits(settings, {table.table.path: table.writers for table in lake.tables})
    if found:
        raise RetailError(
            f"{found[0].why}; make a new one with `{RECOVER}`, or put it back from the same moment as the lake"
        )


def _asked_for(error: StreamingQueryException) -> bool:
    return "StopRequested" in str(error)


def _mend(error: StreamingQueryException) -> str:
    said = str(error)
    if any(words in said for words in _DATA_LOSS):
        return f"; records left Kafka before they were read: see which, and go on without them, by `{ACCEPT_LOSS}`"
    if FULL_DISK in said:
        return MAKE_ROOM
    return ""


def _root_cause(error: StreamingQueryException) -> str:
    """The line that says what went wrong, out of a page of Java and Python frames."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    causes = [line.removeprefix("Caused by:").strip() for line in lines if line.startswith("Caused by:")]
    raised = [line for line in lines if _RAISED.match(line)]
    return (causes or raised or lines)[-1 if causes or raised else 0][:500]
