"""Small questions to lake tables, answered by DuckDB over one version's files, without Spark and beside any writer."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from retail_platform.contracts import INGEST_BATCHES
from retail_platform.contracts.model import Table
from retail_platform.lakehouse.location import let_read
from retail_platform.lakehouse.manifest import BUSINESS_DATE, Manifest, manifest
from retail_platform.settings import Settings


def rows_of(contents: Manifest, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """The rows of ``sql`` over the manifest's files, as the table ``t``; a manifest without files gives none."""
    return rows_over({"t": contents}, sql, parameters) if contents.files else []


def rows_over(tables: Mapping[str, Manifest], sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """The rows of ``sql`` over several manifests, each a table by its name here; one without files is an empty table."""
    with duckdb.connect(":memory:") as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.execute("set threads = 2")
        for name, contents in tables.items():
            let_read(connection, contents.file_system)
            connection.execute(f"create view {name} as {rows_sql(contents)}")
        return connection.execute(sql, list(parameters)).fetchall()


def rows_sql(contents: Manifest) -> str:
    """The manifest's rows, as a query of DuckDB: with every column of the contract, null in those that a file lacks."""
    columns = (f'cast(null as {column.type.duckdb}) as "{column.name}"' for column in contents.table.columns)
    nothing = f"select {', '.join(columns)} where false"
    if not contents.files:
        return nothing
    files = ", ".join(f"'{path.replace(chr(39), chr(39) * 2)}'" for path in contents.files)
    options = f"hive_partitioning = {'true' if contents.table.partition_by else 'false'}"
    if not contents.uneven:
        return f"select * from read_parquet([{files}], {options})"
    # By name, DuckDB opens every file before it knows which it needs.
    return f"{nothing} union all by name select * from read_parquet([{files}], {options}, union_by_name = true)"


def records_of(contents: Manifest, limit: int) -> list[dict[str, Any]]:
    """Up to ``limit`` rows of the manifest's files, as dictionaries of the table's columns."""
    names = contents.table.column_names
    columns = ", ".join(f'"{name}"' for name in names)
    found = rows_of(contents, f"select {columns} from t limit ?", [limit])
    return [dict(zip(names, row, strict=True)) for row in found]


def fingerprints(settings: Settings, table: Table) -> dict[dt.date, str]:
    """For each business date of a partitioned table: a hash of the files it is made of now.

    Two equal fingerprints mean equal rows; a compaction changes a fingerprint though no row changed.
    """
    by_date: dict[dt.date, list[str]] = {}
    for path in manifest(settings, table).files:
        date = path.split(f"{BUSINESS_DATE}=", 1)[1].split("/", 1)[0]
        by_date.setdefault(dt.date.fromisoformat(date), []).append(path.rsplit("/", 1)[1])
    return {
        date: hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()[:16]
        for date, names in sorted(by_date.items())
    }


@dataclass(frozen=True, slots=True)
class BatchEntry:
    """One row of the ingest's ledger; offsets are ``{partition: offset}`` of each topic."""

    query_id: str
    batch_id: int
    query_name: str
    topic: str
    end_offsets: dict[str, dict[int, int]]
    rows_in: int
    events: int
    refused: int
    duplicates: int
    business_dates: tuple[dt.date, ...]
    started_at: dt.datetime
    committed_at: dt.datetime


def ledger(settings: Settings, since: dt.datetime | None = None) -> list[BatchEntry]:
    """The ledger's batches committed after ``since`` (UTC), oldest first.

    Raises:
        RetailError: there is no ledger yet: the stream never ran.
    """
    found = rows_of(
        manifest(settings, INGEST_BATCHES),
        "select query_id, batch_id, query_name, topic, end_offsets, rows_in, events, refused, duplicates, "
        "business_dates, cast(started_at as timestamp), cast(committed_at as timestamp) from t "
        "where cast(committed_at as timestamp) > ? order by committed_at, query_id",
        [(since or dt.datetime(1970, 1, 1, tzinfo=dt.UTC)).replace(tzinfo=None)],
    )
    return [_entry(row) for row in found]


def ends_of(batches: Sequence[BatchEntry], query_name: str, topic: str) -> dict[int, int]:
    """How far a query has taken each partition of a topic: the offset after its last record."""
    ends: dict[int, int] = {}
    for batch in batches:
        if batch.query_name == query_name:
            for partition, end in batch.end_offsets.get(topic, {}).items():
                ends[partition] = max(end, ends.get(partition, 0))
    return ends


def _entry(row: tuple[Any, ...]) -> BatchEntry:
    fields = dict(zip((field.name for field in dataclasses.fields(BatchEntry)), row, strict=True))
    fields["end_offsets"] = _offsets(fields["end_offsets"])
    fields["business_dates"] = tuple(fields["business_dates"])
    for name in ("started_at", "committed_at"):
        fields[name] = fields[name].replace(tzinfo=dt.UTC)
    return BatchEntry(**fields)


def _offsets(text: str) -> dict[str, dict[int, int]]:
    return {
        topic: {int(partition): offset for partition, offset in partitions.items()}
        for topic, partitions in json.loads(text).items()
    }
