"""A silver query: the records of one topic, validated, each event once, into its silver table and the quarantine.

Once, at any delay. Spark's state remembers the event_ids of a horizon H of processing time and drops twins within it.
A twin that comes more than H after the first must be an event whose own time is more than H − 5 minutes ago (the first
was accepted at most 5 minutes before its event time), and only such events are looked up in silver. The horizon runs on
the batch's own time, not on Kafka's append time: after an outage partitions lag unevenly, and a watermark on append
time would drop the records of a slow one in silence.

The watermark is the latest time of a batch less H, and never goes back; an entry of the state lasts until the watermark
is H past it. So a twin that is not looked up finds its event forgotten only where the clock of the first's batch was
behind Kafka's append time, and that of the twin's behind the latest batch's, by more than H together. A batch with more
than H/2 of either is refused. (At H behind the latest batch, Spark would drop every record as late, in silence.) So is
one whose H is more than twice that of the watermark: what the state remembers is too short for it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from concurrent.futures import Executor, Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F  # noqa: N812

from retail_platform.contracts.model import MAX_CLOCK_AHEAD_SECONDS, TopicContract
from retail_platform.errors import RetailError
from retail_platform.ingest.ledger import Counts, Ledger
from retail_platform.ingest.lookup import around, hours_of
from retail_platform.ingest.query import QueryHandle
from retail_platform.ingest.transforms import (
    BusinessCalendar,
    clean_events,
    first_delivery,
    judged,
    of_batch,
    quarantine_rows,
    records,
    screened,
    silver_rows,
)
from retail_platform.lakehouse.checkpoints import Offsets
from retail_platform.lakehouse.delta import Batch, LakeTable
from retail_platform.lakehouse.losses import RECOVER

_TAKEN = "taken"
_VALID = "reasons is null"
# Up to so many events are one file and one task: more of them cost more than they bring, now and for every reader.
_ONE_FILE = 20_000


def first_deliveries(
    kafka: DataFrame,
    contract: TopicContract,
    calendar: BusinessCalendar,
    horizon: dt.timedelta,
    forgotten_at: dt.datetime | None = None,
) -> DataFrame:
    """The stream of a topic's records, screened, without the twins that came within the horizon.

    Columns: those of :func:`~retail_platform.ingest.transforms.screened`, ``batch_time``, and ``late``: whether a twin
    of the event may be older than the horizon, or than what Spark's state knows, which was lost at ``forgotten_at``.
    """
    seen = screened(records(kafka), contract, calendar).observe(_TAKEN, F.count(F.lit(1)).alias("rows_in"))
    # Spark puts the batch's clock in after it has planned, as a number in the code it generates: each batch would compile
    # its own. What a higher-order function holds is interpreted, and stays out of it.
    seen = seen.withColumn("batch_time", F.get(F.transform(F.array(F.current_timestamp()), lambda now: now), F.lit(0)))
    remembered = horizon - dt.timedelta(seconds=MAX_CLOCK_AHEAD_SECONDS)
    late = F.col("batch_time") - F.expr(f"interval {int(remembered.total_seconds())} seconds") > F.col("event_time")
    if forgotten_at is not None:
        # A twin that comes later than a horizon after the loss of the state is late by its own time.
        late |= F.col("batch_time") <= F.lit(forgotten_at + horizon)
    return (
        seen.withColumn("late", F.coalesce(late, F.lit(False)))
        .withWatermark("batch_time", f"{int(horizon.total_seconds())} seconds")
        .dropDuplicatesWithinWatermark(["dedupe_key"])
    )


@dataclass(frozen=True, slots=True)
class SilverBatches:
    """The ``foreachBatch`` function of a silver query.

    ``count`` counts the records between two offsets; ``None`` where no executor can be lost.
    """

    handle: QueryHandle
    contract: TopicContract
    calendar: BusinessCalendar
    horizon: dt.timedelta
    silver: LakeTable
    quarantine: LakeTable
    ledger: Ledger
    pool: Executor
    count: Callable[[Offsets, Offsets], int] | None = None

    def __call__(self, rows: DataFrame, batch_id: int) -> None:
        """Write one micro-batch: silver and quarantine side by side, then the ledger."""
        with self.silver.between_batches:
            self._write(rows, self.handle.begin(batch_id))

    def _write(self, rows: DataFrame, batch: Batch) -> None:
        with ExitStack() as stack:
            held = stack.enter_context(kept(rows))
            judged_apart: DataFrame | None = None
            seen = _summary(held)
            self._refuse_wrong_clock(batch, seen["newest"])
            events, counted, refused = clean_events(held.drop("batch_time")), True, 0
            doubtful = events.where("late") if seen["hours"] else None
            events, hours = events.drop("late"), set(seen["hours"])
            if seen["doubtful"]:
                # Few rows, and an expression that is dear to plan: apart, in one task, and only when there are any.
                unclean = held.where("not clean").coalesce(1)
                judged_apart = stack.enter_context(kept(judged(unclean, self.contract, self.calendar)))
                verdict = _verdict(judged_apart)
                refused = verdict["refused"]
                if verdict["accepted"]:
                    # Spark's state knows these by their address only, so they are looked up whatever their time.
                    accepted = first_delivery(judged_apart.where(_VALID))
                    accepted = accepted.join(events.select("dedupe_key"), "dedupe_key", "left_anti")
                    events = events.unionByName(accepted)
                    doubtful = accepted if doubtful is None else doubtful.drop("late").unionByName(accepted)
                    hours |= set(verdict["hours"])
                    counted = False
            if doubtful is not None:
                known = stack.enter_context(kept(self._known(doubtful, batch, hours)))
                if not known.isEmpty():
                    events, counted = events.join(F.broadcast(known), "dedupe_key", "left_anti"), False
            count, dates = seen["events"], seen["dates"]
            if not counted:
                added = _verdict(events)
                count, dates = added["accepted"], added["dates"]
            if count <= _ONE_FILE:
                events = events.coalesce(1)
            self._append(events if count else None, judged_apart if refused else None, batch)
            taken = self._taken(batch)
        duplicates = taken - count - refused
        counts = Counts(taken, count, refused, duplicates, business_dates=tuple(sorted(dates)))
        self.ledger.write(self.handle, batch, self.contract.topic, counts)

    def _taken(self, batch: Batch) -> int:
        """How many records the batch took, by Spark's count of them as they were read.

        When an executor is lost with what it had shuffled, its tasks run again, and count again.
        """
        counted = int(self.handle.observed(_TAKEN)["rows_in"])
        if self.count is None:
            return counted
        start, end, _ = self.handle.offsets(batch.batch_id)
        return counted if counted == _span(start, end) else self.count(start, end)

    def _refuse_wrong_clock(self, batch: Batch, newest: int | None) -> None:
        planned, watermark = self.handle.clock(batch.batch_id)
        tolerated = self.horizon.total_seconds() * 1000 / 2
        if watermark and planned < watermark + tolerated:
            wrong = "back by more than half of INGEST_DEDUPE_HORIZON_MINUTES, or that was more than doubled"
        elif newest is not None and newest > planned + tolerated:
            wrong = "behind the broker's by more than half of INGEST_DEDUPE_HORIZON_MINUTES"
        else:
            return
        raise RetailError(
            f"this machine's clock is {wrong}; nothing was written. "
            f"See that the clock is right, then renew the checkpoint with `{RECOVER} --all`"
        )

    def _append(self, events: DataFrame | None, refused: DataFrame | None, batch: Batch) -> None:
        beside: Future[None] | None = None
        if refused is not None:
            raw = quarantine_rows(refused, batch.query_id, batch.batch_id)
            beside = self.pool.submit(self.quarantine.append, raw, batch)
        try:
            if events is not None:
                self.silver.append(silver_rows(of_batch(events, batch.query_id, batch.batch_id), self.contract), batch)
        finally:
            if beside is not None:
                beside.result()

    def _known(self, doubtful: DataFrame, batch: Batch, hours: AbstractSet[Row]) -> DataFrame:
        """The ``dedupe_key`` of those of ``doubtful``, events of these hours, that silver has from another batch."""
        there = self.silver.read().where(around(hours, self.horizon))
        if self.silver.has(batch):
            there = there.where(~((F.col("query_id") == batch.query_id) & (F.col("batch_id") == batch.batch_id)))
        there = there.select(F.col(self.contract.event_id).alias("dedupe_key"))
        return there.join(F.broadcast(doubtful.select("dedupe_key")), "dedupe_key", "left_semi")


@contextmanager
def kept(rows: DataFrame) -> Iterator[DataFrame]:
    """``rows``, computed once, until the end of the block."""
    held = rows.persist()
    try:
        yield held
    finally:
        held.unpersist()


def _summary(rows: DataFrame) -> Row:
    """One row: events (the clean ones), doubtful (the others), dates of the events, hours of the late ones, newest.

    ``hours`` are those of :func:`~retail_platform.ingest.lookup.hours_of`; ``newest`` is the latest append time, in
    milliseconds since 1970.
    """
    clean = F.col("clean")
    return _only(
        rows.agg(
            F.count_if(clean).alias("events"),
            F.count_if(~clean).alias("doubtful"),
            F.collect_set(F.when(clean, F.col("business_date"))).alias("dates"),
            hours_of(clean & F.col("late")),
            F.unix_millis(F.max("append_time")).alias("newest"),
        )
    )


def _verdict(rows: DataFrame) -> Row:
    """One row: accepted, refused, dates and hours of the accepted events."""
    valid = F.expr(_VALID)
    return _only(
        rows.agg(
            F.count_if(valid).alias("accepted"),
            F.count_if(~valid).alias("refused"),
            F.collect_set(F.when(valid, F.col("business_date"))).alias("dates"),
            hours_of(valid),
        )
    )


def _span(start: Offsets, end: Offsets) -> int:
    """So many records lie between the offsets, unless transactions, a compaction or a retention have left gaps."""
    return sum(
        last - start.get(topic, {}).get(partition, 0)
        for topic, partitions in end.items()
        for partition, last in partitions.items()
    )


def _only(one_row: DataFrame) -> Row:
    return one_row.collect()[0]
