"""The versions of a lake table: when each was written, by what, how much, how they differ; and what they take on disk."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
from deltalake.exceptions import TableNotFoundError

from retail_platform.contracts.model import Table
from retail_platform.errors import RetailError
from retail_platform.lakehouse.location import all_there, lake, open_delta
from retail_platform.lakehouse.manifest import Manifest, manifest
from retail_platform.lakehouse.reading import rows_over
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
        entries = open_delta(settings, table).history(limit)
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


@dataclass(frozen=True, slots=True)
class Size:
    """What a table takes: the files of its newest version, all data files on disk (older versions' too), the log's."""

    files: int
    bytes: int
    files_on_disk: int
    bytes_on_disk: int
    log_files: int


def size(settings: Settings, table: Table) -> Size:
    """The table's size now."""
    sizes = pa.table(open_delta(settings, table).get_add_actions()).column("size_bytes").to_pylist()
    root = lake(settings) / table.path
    found = root.files(recursive=True)
    on_disk = [entry.size for entry in found if entry.path.endswith(".parquet") and "/_delta_log/" not in entry.path]
    log_files = sum(1 for entry in (root / "_delta_log").files() if not entry.base_name.startswith("."))
    return Size(len(sizes), sum(sizes), len(on_disk), sum(on_disk), log_files)


def properties(settings: Settings, table: Table) -> dict[str, str]:
    """The table's Delta properties."""
    return dict(open_delta(settings, table).metadata().configuration)


def readable(settings: Settings, table: Table, version: int | None) -> Manifest:
    """The manifest of a version, all of whose files are there.

    Raises:
        RetailError: there is no such version, or VACUUM has removed files of it.
    """
    found = manifest(settings, table, version=version)
    if not all_there(found.files, found.file_system):
        raise RetailError(
            f"{table.path}: files of version {found.version} are gone: VACUUM keeps LAKE_HISTORY_DAYS="
            f"{settings.lake_history_days} days; see `retail lake history {table.path}` for newer versions"
        )
    return found


@dataclass(frozen=True, slots=True)
class Difference:
    """How one partition differs between two versions; a changed row is one removed and one added."""

    partition: str
    added: int
    removed: int


def differences(settings: Settings, table: Table, first: int, last: int) -> list[Difference]:
    """The partitions whose rows differ between two versions; compaction alone is no difference.

    Only files that the versions do not share are read. ``partition`` is as in a path, e.g. ``business_date=2010-12-01``.

    Raises:
        RetailError: one of the versions is not kept any more.
    """
    before, after = readable(settings, table, first), readable(settings, table, last)
    shared = set(before.files) & set(after.files)
    old, new = (replace(each, files=tuple(f for f in each.files if f not in shared)) for each in (before, after))
    columns = ", ".join(f'"{name}"' for name in table.column_names)
    place = " || '/' || ".join(f"'{name}=' || {name}" for name in table.partition_by) or "''"
    found = rows_over(
        {"old": old, "new": new},
        f"""
        with added as (select {columns} from new except all select {columns} from old),
        removed as (select {columns} from old except all select {columns} from new),
        changes as (
            select {place} as place, 1 as added, 0 as removed from added
            union all select {place}, 0, 1 from removed
        )
        select place, sum(added), sum(removed) from changes group by place order by place
        """,
    )
    return [Difference(place, int(added), int(removed)) for place, added, removed in found]


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
