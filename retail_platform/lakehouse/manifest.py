"""The manifest: which Parquet files one version of a lake table is made of, for the business dates asked.

Read from the Delta log alone, without Spark. What reads the files (a warehouse) is not here.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from retail_platform.contracts import Table
from retail_platform.errors import RetailError
from retail_platform.lakehouse.location import data_file, file_system, open_delta
from retail_platform.settings import Settings

BUSINESS_DATE = "business_date"
#: The property of a Delta table that has gained columns since it was created.
GAINED_COLUMNS = "retail.gained_columns"

# With these a Parquet file alone no longer says which rows and columns the table has.
_UNREADABLE_FEATURES = frozenset({"deletionVectors", "columnMapping"})


@dataclass(frozen=True, slots=True)
class Manifest:
    """The files that hold ``table`` at ``version`` for ``dates``; ``dates`` is ``None`` for the whole table.

    A table that is not partitioned by business date lists all its files, whatever the dates. ``rows`` is what the log
    says the files hold, ``None`` when it does not say; ``bytes`` is the sum of their sizes. ``uneven``: files may lack columns
    that the contract has gained since they were written. ``file_system`` is what opens files that are not on this machine.
    """

    table: Table
    version: int
    dates: tuple[dt.date, ...] | None
    files: tuple[str, ...]
    rows: int | None
    bytes: int
    uneven: bool = False
    file_system: pafs.FileSystem | None = field(default=None, repr=False, compare=False)


def manifest(
    settings: Settings, table: Table, dates: Sequence[dt.date] | None = None, version: int | None = None
) -> Manifest:
    """The manifest of ``table`` for ``dates`` (all of them when ``None``) at ``version`` (the newest when ``None``).

    Raises:
        RetailError: the lake has no such table or version yet, or its files cannot be read without its log.
    """
    delta = _open(settings, table, version)
    features = _UNREADABLE_FEATURES.intersection(delta.protocol().reader_features or ())
    if features:
        raise RetailError(
            f"{table.path}: the Delta feature {', '.join(sorted(features))} hides rows from plain Parquet readers; "
            "write the table with default features (see `retail lake history`)"
        )
    asked = None if dates is None else tuple(sorted(set(dates)))
    entries = pa.table(delta.get_add_actions(flatten=True)).to_pylist()
    if asked is not None and BUSINESS_DATE in table.partition_by:
        entries = [entry for entry in entries if entry[f"partition.{BUSINESS_DATE}"] in asked]
    files = tuple(sorted(data_file(settings, table, entry["path"]) for entry in entries))
    size = sum(entry["size_bytes"] for entry in entries)
    uneven = GAINED_COLUMNS in delta.metadata().configuration or _lacks_columns(delta, table)
    return Manifest(table, delta.version(), asked, files, _rows(entries), size, uneven, file_system(settings))


def _lacks_columns(delta: DeltaTable, table: Table) -> bool:
    return not {entry.name for entry in delta.schema().fields}.issuperset(table.column_names)


def _open(settings: Settings, table: Table, version: int | None) -> DeltaTable:
    try:
        return open_delta(settings, table, version)
    except TableNotFoundError as error:
        raise RetailError(
            f"the lake has no {table.path} yet; run the stream first (`retail stream drain`), or check RETAIL_HOME"
        ) from error
    except DeltaError as error:
        raise RetailError(
            f"{table.path} cannot be read at version {'newest' if version is None else version}: {error}; "
            "see `retail lake history` for the versions that are kept"
        ) from error


def _rows(entries: Sequence[Mapping[str, Any]]) -> int | None:
    counts = [entry["num_records"] for entry in entries]
    return None if None in counts else sum(counts)
