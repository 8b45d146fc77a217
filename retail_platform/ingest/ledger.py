"""The ingest's own ledger, ``ops/ingest_batches``: what each micro-batch took and what became of it."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass

from pyspark.sql import functions as F  # noqa: N812

from retail_platform.contracts import INGEST_BATCHES
from retail_platform.ingest.query import QueryHandle
from retail_platform.ingest.transforms import batch_constant
from retail_platform.lakehouse.checkpoints import Offsets
from retail_platform.lakehouse.delta import Batch, LakeTable


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of a batch's records. ``rows_in = events + refused + duplicates`` for a silver query."""

    rows_in: int
    events: int
    refused: int
    duplicates: int
    business_dates: tuple[dt.date, ...] = ()


@dataclass(frozen=True, slots=True)
class Taken:
    """What a batch took: of one topic, or ``*``; ``start`` included, ``end`` not."""

    query_name: str
    topic: str
    start: Offsets
    end: Offsets


@dataclass(frozen=True, slots=True)
class Ledger:
    """Writes the ledger; one row a batch, exactly once, after the batch's tables."""

    table: LakeTable

    def write(self, handle: QueryHandle, batch: Batch, topic: str, counts: Counts) -> None:
        """Enter the batch: its rows are readable from now on."""
        if self.table.has(batch):
            return
        start, end, planned = handle.offsets(batch.batch_id)
        started_at = dt.datetime.fromtimestamp(planned / 1000, dt.UTC)
        self.enter(batch, Taken(handle.name, topic, start, end), counts, started_at, dt.datetime.now(dt.UTC))

    def enter(
        self, batch: Batch, taken: Taken, counts: Counts, started_at: dt.datetime, committed_at: dt.datetime
    ) -> None:
        """Enter what a batch took, and what became of it; nothing happens when it is already in."""
        dates = [F.lit(date) for date in counts.business_dates]
        values = {
            "query_id": F.lit(batch.query_id),
            "batch_id": F.lit(batch.batch_id),
            "query_name": F.lit(taken.query_name),
            "topic": F.lit(taken.topic),
            "start_offsets": F.lit(json.dumps(taken.start, sort_keys=True)),
            "end_offsets": F.lit(json.dumps(taken.end, sort_keys=True)),
            "rows_in": F.lit(counts.rows_in),
            "events": F.lit(counts.events),
            "refused": F.lit(counts.refused),
            "duplicates": F.lit(counts.duplicates),
            "business_dates": F.array(*dates),
            "started_at": F.lit(started_at),
            "committed_at": F.lit(committed_at),
        }
        entry = F.struct(
            *(values[column.name].cast(column.type.spark).alias(column.name) for column in INGEST_BATCHES.columns)
        )
        rows = self.table.spark.range(1, numPartitions=1).select(batch_constant(entry).alias("entry")).select("entry.*")
        self.table.append(rows, batch)
