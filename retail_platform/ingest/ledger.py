"""The ingest's own ledger, ``ops/ingest_batches``: what each micro-batch took and what became of it."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass

from pyspark.sql import functions as F  # noqa: N812

from retail_platform.contracts import INGEST_BATCHES
from retail_platform.ingest.query import QueryHandle
from retail_platform.ingest.transforms import batch_constant
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
class Ledger:
    """Writes the ledger; one row a batch, exactly once, after the batch's tables."""

    table: LakeTable

    def write(self, handle: QueryHandle, batch: Batch, topic: str, counts: Counts) -> None:
        """Enter the batch: its rows are readable from now on."""
        if self.table.has(batch):
            return
        start, end, planned = handle.offsets(batch.batch_id)
        dates = [F.lit(date) for date in counts.business_dates]
        values = {
            "query_id": F.lit(batch.query_id),
            "batch_id": F.lit(batch.batch_id),
            "query_name": F.lit(handle.name),
            "topic": F.lit(topic),
            "start_offsets": F.lit(json.dumps(start, sort_keys=True)),
            "end_offsets": F.lit(json.dumps(end, sort_keys=True)),
            "rows_in": F.lit(counts.rows_in),
            "events": F.lit(counts.events),
            "refused": F.lit(counts.refused),
            "duplicates": F.lit(counts.duplicates),
            "business_dates": F.array(*dates),
            "started_at": F.timestamp_millis(F.lit(planned)),
            "committed_at": F.lit(dt.datetime.now(dt.UTC)),
        }
        entry = F.struct(
            *(values[column.name].cast(column.type.spark).alias(column.name) for column in INGEST_BATCHES.columns)
        )
        rows = self.table.spark.range(1, numPartitions=1).select(batch_constant(entry).alias("entry")).select("entry.*")
        self.table.append(rows, batch)
