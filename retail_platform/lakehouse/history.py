"""The versions of a lake table: when each was written, by what, how much; and which one was current at a time."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from typing import Any

from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from retail_platform.contracts.model import Table
from retail_platform.errors import RetailError
from retail_platform.settings import Settings


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a table. ``writers`` is the last batch of each streaming query that is in it."""

    version: int
    at: dt.datetime
    operation: str
    rows: int | None
    files: int | None
    writers: dict[str, int]

    def record(self) -> dict[str, Any]:
        """The version as plain values, for people and scripts."""
        batches = ", ".join(f"{query[:8]}:{batch}" for query, batch in self.writers.items())
        return {
            "version": self.version,
            "at": self.at.isoformat(timespec="milliseconds"),
            "operation": self.operation,
            "rows": self.rows,
            "files": self.files,
            "last batches": batches,
        }


def versions(settings: Settings, table: Table, limit: int | None = None) -> list[Version]:
    """The newest ``limit`` versions that are kept, newest first.

    Raises:
        RetailError: the lake has no such table yet.
    """
    try:
        entries = DeltaTable(settings.lake_dir / table.path).history(limit)
    except TableNotFoundError as error:
        raise RetailError(f"the lake has no {table.path} yet; run the stream first (`retail stream drain`)") from error
    return [_version(entry) for entry in entries]


def version_at(settings: Settings, table: Table, moment: dt.datetime) -> int:
    """The version that was current at ``moment``.

    Raises:
        RetailError: the table's kept history begins later.
    """
    known = versions(settings, table)
    for entry in known:
        if entry.at <= moment:
            return entry.version
    first = f"{known[-1].at:%Y-%m-%d %H:%M:%S}" if known else "nothing"
    raise RetailError(f"{table.path} has no version of {moment:%Y-%m-%d %H:%M:%S} UTC any more; it begins with {first}")


def _version(entry: dict[str, Any]) -> Version:
    metrics = entry.get("operationMetrics") or {}
    rows = metrics.get("numOutputRows") or metrics.get("numTargetRowsInserted")
    files = metrics.get("numFiles") or metrics.get("numTargetFilesAdded") or metrics.get("numAddedFiles")
    said = json.loads(entry.get("userMetadata") or "{}")
    return Version(
        int(entry["version"]),
        dt.datetime.fromtimestamp(entry["timestamp"] / 1000, dt.UTC),
        str(entry.get("operation", "")),
        int(rows) if rows is not None else None,
        int(files) if files is not None else None,
        dict(said.get("writers", {})),
    )
