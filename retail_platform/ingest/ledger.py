"""The ingest's own ledger, ``ops/ingest_batches``: what each micro-batch took and what became of it."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass

from retail_platform.ingest.query import QueryHandle
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
        self.table.append(
            {
                "query_id": batch.query_id,
                "batch_id": batch.batch_id,
                "query_name": taken.query_name,
                "topic": taken.topic,
                "start_offsets": json.dumps(taken.start, sort_keys=True),
                "end_offsets": json.dumps(taken.end, sort_keys=True),
                "rows_in": counts.rows_in,
                "events": counts.events,
                "refused": counts.refused,
                "duplicates": counts.duplicates,
                "business_dates": list(counts.business_dates),
                "started_at": started_at,
                "committed_at": committed_at,
            },
            batch,
        )
