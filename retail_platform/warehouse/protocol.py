"""What every warehouse does, and what it says about it. Adapters are beside this module, one an engine."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from retail_platform.contracts import Table
from retail_platform.lakehouse.manifest import Manifest

#: The schema of dbt's marts.
MARTS = "marts"


@dataclass(frozen=True, slots=True)
class LoadedDate:
    """What a table holds for one business date: its rows, and the exact sum of each checked column."""

    business_date: dt.date
    rows: int
    sums: Mapping[str, Decimal]


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What one load did. ``rows`` is what it read, from files of ``bytes`` in all; a load that changes nothing has 0 in the
    three counts after them.

    ``query_ids`` are the statements' ids in the warehouse's own query history, where it has one.
    """

    table: str
    delta_version: int
    rows: int
    bytes: int
    inserted: int
    updated: int
    deleted: int
    dates: tuple[LoadedDate, ...]
    seconds: float
    query_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing in which a table of the warehouse differs from the silver version that it was made from."""

    table: str
    business_date: dt.date
    what: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.table} {self.business_date}: {self.what} is {self.found}, silver has {self.expected}"


def by_date(differences: Sequence[Difference]) -> dict[dt.date, list[str]]:
    """``differences`` as sentences, by the date that they are on."""
    found: dict[dt.date, list[str]] = {}
    for each in differences:
        found.setdefault(each.business_date, []).append(str(each))
    return found


class Warehouse(Protocol):
    """A warehouse with the schema ``raw``, filled from the lake, and ``marts``, filled by dbt."""

    def create_tables(self) -> None:
        """Create the ``raw`` tables that are missing; a load does so itself."""
        ...

    def load(self, manifest: Manifest, run_id: str) -> LoadResult:
        """Bring ``raw`` to what the manifest's files hold for its dates, in one transaction.

        Rows are merged on the contract's key; where the table is partitioned by business date, rows of the dates that
        are no longer in the files are deleted. Loading a version again changes nothing.

        Raises:
            RetailError: the files hold a key twice, or the warehouse cannot be reached.
        """
        ...

    def loaded_versions(self, table: Table, dates: Sequence[dt.date]) -> dict[dt.date, int]:
        """The Delta version that each of ``dates`` was last loaded from; a date that never was is left out."""
        ...

    def reconcile(self, table: Table, dates: Sequence[dt.date]) -> list[Difference]:
        """Compare rows and sums of each date with silver at the version that was loaded; empty when all is well.

        Raises:
            RetailError: nothing was ever loaded, or the lake no longer keeps the version.
        """
        ...

    def query(self, sql: str) -> pa.Table:
        """The rows of a query; columns are named in lower case.

        Raises:
            RetailError: a table that it names was not loaded or built yet, or the warehouse cannot be reached.
        """
        ...

    def publish(self, marts: Sequence[str], directory: Path) -> list[Path]:
        """Write each of ``marts`` as ``<mart>.parquet`` into ``directory``, each replaced atomically.

        Raises:
            RetailError: a mart was not built yet.
        """
        ...
