"""A silver query: the records of one topic, validated, each event once, into its silver table and the quarantine.

Once, at any delay. Spark's state remembers the event_ids of a horizon H of processing time and drops twins within it.
A twin that comes more than H after the first must be an event whose own time is more than H − 5 minutes ago (the first
was accepted at most 5 minutes before its event time), and only such events are looked up in silver. The horizon runs on
the batch's own time, not on Kafka's append time: after an outage partitions lag unevenly, and a watermark on append
time would drop the records of a slow one in silence.
"""

from __future__ import annotations

import datetime as dt
from concurrent.futures import Executor
from dataclasses import dataclass

from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F  # noqa: N812

from retail_platform.contracts.model import MAX_CLOCK_AHEAD_SECONDS, TopicContract
from retail_platform.ingest.ledger import Counts, Ledger
from retail_platform.ingest.query import QueryHandle
from retail_platform.ingest.transforms import BusinessCalendar, quarantine_rows, records, silver_rows, validated
from retail_platform.lakehouse.delta import Batch, LakeTable

_TAKEN = "taken"
_VALID = "reasons is null"


def first_deliveries(
    kafka: DataFrame, contract: TopicContract, calendar: BusinessCalendar, horizon: dt.timedelta
) -> DataFrame:
    """The stream of a topic's records, validated, without the twins that came within the horizon.

    Columns: those of :func:`~retail_platform.ingest.transforms.validated`, ``batch_time``, and ``late``: whether a twin
    of the event may be older than the horizon.
    """
    checked = validated(records(kafka), contract, calendar).withColumn("batch_time", F.current_timestamp())
    remembered = horizon - dt.timedelta(seconds=MAX_CLOCK_AHEAD_SECONDS)
    late = F.col("batch_time") - F.expr(f"interval {int(remembered.total_seconds())} seconds") > F.col("event_time")
    return (
        checked.withColumn("late", F.coalesce(late, F.lit(False)))
        .observe(_TAKEN, F.count(F.lit(1)).alias("rows_in"))
        .withWatermark("batch_time", f"{int(horizon.total_seconds())} seconds")
        .dropDuplicatesWithinWatermark(["dedupe_key"])
    )


@dataclass(frozen=True, slots=True)
class SilverBatches:
    """The ``foreachBatch`` function of a silver query."""

    handle: QueryHandle
    contract: TopicContract
    silver: LakeTable
    quarantine: LakeTable
    ledger: Ledger
    pool: Executor

    def __call__(self, rows: DataFrame, batch_id: int) -> None:
        """Write one micro-batch: silver and quarantine side by side, then the ledger."""
        with self.silver.between_batches:
            self._write(rows, self.handle.begin(batch_id))

    def _write(self, rows: DataFrame, batch: Batch) -> None:
        kept = rows.persist()
        try:
            seen = _summary(kept)
            if seen["late_dates"]:
                events = self._without_known(kept, batch, seen["late_dates"])
                added = _summary(events)
            else:
                events, added = kept.where(_VALID), seen
            writes = []
            if added["events"]:
                lines = silver_rows(events, self.contract, batch.query_id, batch.batch_id)
                writes.append(self.pool.submit(self.silver.append, lines, batch))
            if seen["refused"]:
                refused = quarantine_rows(kept, batch.query_id, batch.batch_id)
                writes.append(self.pool.submit(self.quarantine.append, refused, batch))
            for write in writes:
                write.result()
            taken = int(self.handle.observed(_TAKEN)["rows_in"])
        finally:
            kept.unpersist()
        counts = Counts(
            rows_in=taken,
            events=added["events"],
            refused=seen["refused"],
            duplicates=taken - added["events"] - seen["refused"],
            business_dates=tuple(sorted(added["dates"])),
        )
        self.ledger.write(self.handle, batch, self.contract.topic, counts)

    def _without_known(self, kept: DataFrame, batch: Batch, dates: list[dt.date]) -> DataFrame:
        """The valid events less the late ones that silver has from another batch."""
        identity = self.contract.event_id
        late = kept.where("late").select(F.col("dedupe_key").alias(identity))
        known = (
            self.silver.read()
            .where(F.col("business_date").isin(dates))
            .where(~((F.col("query_id") == batch.query_id) & (F.col("batch_id") == batch.batch_id)))
            .join(F.broadcast(late), identity, "left_semi")
            .select(F.col(identity).alias("dedupe_key"))
            .distinct()
        )
        return kept.where(_VALID).join(F.broadcast(known), "dedupe_key", "left_anti")


def _summary(rows: DataFrame) -> Row:
    """One row: events, refused, dates (of the valid events), late_dates (of the late ones)."""
    valid = F.expr(_VALID)
    found = rows.agg(
        F.count_if(valid).alias("events"),
        F.count_if(~valid).alias("refused"),
        F.collect_set(F.when(valid, F.col("business_date"))).alias("dates"),
        F.collect_set(F.when(valid & F.col("late"), F.col("business_date"))).alias("late_dates"),
    ).first()
    assert found is not None, "an aggregate without groups has one row"  # noqa: S101
    return found
