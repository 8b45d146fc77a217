"""What a load is in every warehouse, apart from the statements that an engine runs."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from retail_platform.contracts import TOPICS, WAREHOUSE_TABLES, Table
from retail_platform.durable import replaced
from retail_platform.errors import RetailError
from retail_platform.lakehouse.manifest import Manifest
from retail_platform.lakehouse.manifest import manifest as manifest_of
from retail_platform.settings import Settings
from retail_platform.warehouse import sql
from retail_platform.warehouse.protocol import Difference, LoadedDate


def tables_to_load(settings: Settings) -> tuple[Table, ...]:
    """The lake's tables that the warehouse has; those of the reactions only where the stream brings them."""
    ingested = [contract.silver_table for contract in settings.topics]
    kept_out = [contract.silver_table for contract in TOPICS if contract.silver_table not in ingested]
    return tuple(table for table in WAREHOUSE_TABLES if table not in kept_out)


def loaded_dates(table: Table, dates: Sequence[dt.date], rows: Iterable[Sequence[Any]]) -> list[LoadedDate]:
    """The rows of :func:`~retail_platform.warehouse.sql.sums_by_date`, in the order of ``dates``; zeros where none is."""
    columns = [column.name for column in sql.checked_columns(table)]
    found = {
        date: LoadedDate(date, count, {name: Decimal(value) for name, value in zip(columns, sums, strict=True)})
        for date, count, *sums in rows
    }
    empty = dict.fromkeys(columns, Decimal(0))
    return [found.get(date, LoadedDate(date, 0, empty)) for date in dates]


def ledger_rows(manifest: Manifest, loaded: Sequence[LoadedDate], run_id: str) -> Iterator[tuple[Any, ...]]:
    """The rows of a load in :data:`~retail_platform.warehouse.sql.LOADS`, one a date."""
    load_id, now = uuid.uuid4().hex, dt.datetime.now(dt.UTC).replace(tzinfo=None)
    for date in loaded:
        sums = json.dumps({name: str(value) for name, value in date.sums.items()})
        yield load_id, manifest.table.path, date.business_date, manifest.version, date.rows, sums, now, run_id


def reconciliation(
    settings: Settings,
    table: Table,
    dates: Sequence[dt.date],
    versions: Mapping[dt.date, int],
    both: Callable[[Manifest], tuple[list[LoadedDate], list[LoadedDate]]],
) -> list[Difference]:
    """Where the warehouse differs from the ``versions`` of silver that it loaded, by date.

    ``both`` says what silver holds for the dates of a manifest, and what the warehouse does.
    """
    found = [
        Difference(table.path, date, "load", "a version to load", "missing") for date in dates if date not in versions
    ]
    for version in sorted(set(versions.values())):
        wanted = [date for date in dates if versions.get(date) == version]
        silver, here = both(manifest_of(settings, table, wanted, version))
        for expected, held in zip(silver, here, strict=True):
            found += _differences(table, expected, held)
    return sorted(found, key=lambda difference: difference.business_date)


def _differences(table: Table, silver: LoadedDate, here: LoadedDate) -> list[Difference]:
    pairs: list[tuple[str, object, object]] = [("rows", silver.rows, here.rows)]
    pairs += [(f"sum of {name}", value, here.sums[name]) for name, value in silver.sums.items()]
    return [
        Difference(table.path, silver.business_date, what, str(expected), str(found))
        for what, expected, found in pairs
        if expected != found
    ]


def refuse_repeated_keys(manifest: Manifest, repeated: int) -> None:
    """Refuse a version that holds keys twice: merging it would let one of two win by chance.

    Raises:
        RetailError: ``repeated`` is not 0.
    """
    table = manifest.table
    if repeated:
        raise RetailError(
            f"{table.path} version {manifest.version} holds {repeated} keys ({', '.join(table.key)}) more than once; "
            "derive the day again from bronze (materialize its silver partition), then load it"
        )


@contextlib.contextmanager
def published(mart: str, directory: Path) -> Iterator[tuple[Path, Path]]:
    """The mart's file, and a draft that takes its place at the end of the block, if that ends well."""
    path = directory / f"{mart}.parquet"
    with replaced(path) as draft:
        yield path, draft
