"""OPTIMIZE and VACUUM of the lake's tables: few files, a bounded log, and the history that LAKE_HISTORY_DAYS promises.

Neither changes a row, and neither hides what the stream knows its batches by (see ``lakehouse/delta.py``). Only whoever
holds the lake's lease may do this; a batch that wants to commit to a table waits while that table is compacted.
"""

from __future__ import annotations

import datetime as dt
import zoneinfo
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from retail_platform.contracts.model import Table
from retail_platform.ingest.lake import Lake
from retail_platform.lakehouse.delta import LakeTable
from retail_platform.lakehouse.history import properties, size
from retail_platform.lakehouse.manifest import BUSINESS_DATE
from retail_platform.settings import Settings

_INGEST_DATE = "ingest_date"


def optimize(lake: Lake, settings: Settings, paths: Sequence[str]) -> dict[str, Any]:
    """Compact the small files of the tables: ``{"tables": [{"table", "before", "after"}]}``, sizes as dictionaries.

    Of a table with partitions by date only the closed ones, those before today: the stream still writes to today's and
    would have made small files of it again by tomorrow. Rows, and what a stream reads from the table, stay the same.
    """

    def compact(table: LakeTable) -> None:
        closed = _closed(table.table, settings)
        with table.maintenance() as delta:
            builder = delta.optimize()
            (builder.where(closed) if closed else builder).executeCompaction()

    return _each(lake, settings, paths, compact)


def vacuum(lake: Lake, settings: Settings, paths: Sequence[str]) -> dict[str, Any]:
    """Delete the files that no version of the last LAKE_HISTORY_DAYS needs: the same result as :func:`optimize`.

    What the log itself has beyond that, Delta removes when it next writes one of the log's checkpoints.
    """
    days = settings.lake_history_days

    def remove(table: LakeTable) -> None:
        wanted = {
            "delta.deletedFileRetentionDuration": f"interval {days} days",
            "delta.logRetentionDuration": f"interval {days} days",
        }
        if not wanted.items() <= properties(settings, table.table).items():
            table.set_properties(wanted)
        table.vacuum(days * 24)

    return _each(lake, settings, paths, remove)


def _each(lake: Lake, settings: Settings, paths: Sequence[str], do: Callable[[LakeTable], None]) -> dict[str, Any]:
    done = []
    for table in lake.tables:
        if table.table.path in paths:
            before = size(settings, table.table)
            do(table)
            after = size(settings, table.table)
            done.append({"table": table.table.path, "before": asdict(before), "after": asdict(after)})
    return {"tables": done}


def _closed(table: Table, settings: Settings) -> str | None:
    """A condition on the partitions that no new day's events fall into; ``None`` for a table without partitions."""
    if BUSINESS_DATE in table.partition_by:
        today = dt.datetime.now(zoneinfo.ZoneInfo(settings.business_timezone)).date()
        return f"{BUSINESS_DATE} < date'{today}'"
    if _INGEST_DATE in table.partition_by:
        return f"{_INGEST_DATE} < date'{dt.datetime.now(dt.UTC).date()}'"
    return None
