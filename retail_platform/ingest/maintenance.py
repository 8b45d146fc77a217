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
#: What a day's compactions leave alone, or each would write the day again. A quarter of Spark's own split of a file.
_SMALL_BYTES = 32 * 1024**2


def optimize(lake: Lake, settings: Settings, paths: Sequence[str]) -> dict[str, Any]:
    """Compact the small files of the tables: ``{"tables": [{"table", "before", "after"}]}``, sizes as dictionaries.

    Of a table with partitions by date only the closed ones, those before today: the stream still writes to today's and
    would have made small files of it again by tomorrow. Rows, and what a stream reads from the table, stay the same.
    """

    def compact(table: LakeTable) -> None:
        _compact(table, _partitions(table.table, "<", settings))

    return _each(lake, settings, paths, compact)


def compact_today(lake: Lake, settings: Settings) -> dict[str, Any]:
    """Compact the small files that the stream has made today; the result is that of :func:`optimize`.

    A stream of small batches makes tens of thousands of files a day. Those of an hour are put together, so that neither
    readers of today nor Delta's log grow with the number of batches.
    """

    def compact(table: LakeTable) -> None:
        _compact(table, _partitions(table.table, ">=", settings), _SMALL_BYTES)

    return _each(lake, settings, [table.table.path for table in lake.tables], compact)


def vacuum(lake: Lake, settings: Settings, paths: Sequence[str]) -> dict[str, Any]:
    """Delete the files that no version of the last LAKE_HISTORY_DAYS needs: the same result as :func:`optimize`.

    What the log itself has beyond that, Delta removes when it next writes one of the log's checkpoints itself.
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


def _compact(table: LakeTable, partitions: str | None, small_bytes: int | None = None) -> None:
    with table.maintenance(small_bytes) as delta:
        builder = delta.optimize()
        (builder.where(partitions) if partitions else builder).executeCompaction()


def _partitions(table: Table, compared: str, settings: Settings) -> str | None:
    """A condition on the table's partitions, ``compared`` with today; ``None`` for a table that has none by date.

    No new day's events fall into those before today.
    """
    for column, zone in ((BUSINESS_DATE, zoneinfo.ZoneInfo(settings.business_timezone)), (_INGEST_DATE, dt.UTC)):
        if column in table.partition_by:
            return f"{column} {compared} date'{dt.datetime.now(zone).date()}'"
    return None
