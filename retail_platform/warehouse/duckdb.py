"""The embedded warehouse: one DuckDB file, one writer at a time, connections held no longer than a statement needs.

Every connection is opened read-write and with one configuration: DuckDB refuses two configurations of a file within a
process, and a reader in another process blocks the writer all the same.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from retail_platform.contracts import WAREHOUSE_TABLES, Table
from retail_platform.errors import RetailError
from retail_platform.lakehouse.location import let_read
from retail_platform.lakehouse.manifest import BUSINESS_DATE, Manifest
from retail_platform.lakehouse.reading import rows_sql
from retail_platform.settings import Settings
from retail_platform.warehouse import sql
from retail_platform.warehouse.loading import (
    ledger_rows,
    loaded_dates,
    published,
    reconciliation,
    refuse_repeated_keys,
)
from retail_platform.warehouse.protocol import MARTS, Difference, LoadedDate, LoadResult

_LOCK_MESSAGE = "Could not set lock on file"
_LOCK_WAIT_SECONDS = 60.0
_LOCK_POLL_SECONDS = 0.05
_STAGE = "temp.stage"


@dataclass(frozen=True, slots=True)
class DuckDBWarehouse:
    """The :class:`~retail_platform.warehouse.protocol.Warehouse` of ``WAREHOUSE=duckdb``."""

    settings: Settings

    def create_tables(self) -> None:
        """Create the ``raw`` tables that are missing."""
        with self._connection() as connection:
            _create_tables(connection)

    def load(self, manifest: Manifest, run_id: str) -> LoadResult:
        """See :class:`~retail_platform.warehouse.protocol.Warehouse`."""
        started = time.monotonic()
        table = manifest.table
        target = sql.address(table, "duckdb")
        with self._connection() as connection:
            _create_tables(connection)
            rows = _stage(connection, manifest)
            connection.execute("begin")
            dates = manifest.dates if manifest.dates is not None else _dates_of(connection, table)
            before = _number(connection, f"select count(*) from {target}")
            merged = _number(connection, sql.merge(table, _STAGE, "duckdb"))
            inserted = _number(connection, f"select count(*) from {target}") - before
            deleted = 0
            if sql.by_partition(table):
                deleted = _number(connection, sql.delete_missing(table, _STAGE, dates, "duckdb"))
            loaded = _sums(connection, table, _STAGE, dates)
            _record(connection, manifest, loaded, run_id)
            connection.execute("commit")
        seconds = time.monotonic() - started
        return LoadResult(
            table.path,
            manifest.version,
            rows,
            manifest.bytes,
            inserted,
            merged - inserted,
            deleted,
            tuple(loaded),
            seconds,
        )

    def loaded_versions(self, table: Table, dates: Sequence[dt.date]) -> dict[dt.date, int]:
        """See :class:`~retail_platform.warehouse.protocol.Warehouse`."""
        found = self.query(sql.last_loads(table, dates, "duckdb"))
        return {row[BUSINESS_DATE]: row["delta_version"] for row in found.to_pylist()}

    def reconcile(self, table: Table, dates: Sequence[dt.date]) -> list[Difference]:
        """See :class:`~retail_platform.warehouse.protocol.Warehouse`."""
        return reconciliation(self.settings, table, dates, self.loaded_versions(table, dates), self._both)

    def _both(self, silver: Manifest) -> tuple[list[LoadedDate], list[LoadedDate]]:
        table, dates = silver.table, silver.dates or ()
        here = sql.address(table, "duckdb")
        if not sql.by_partition(table):
            # A batch that another date's later load brought is not of this version.
            here = f"(from {here} semi join {_STAGE} using ({', '.join(table.key)}))"
        with self._connection() as connection:
            _stage(connection, silver)
            return _sums(connection, table, _STAGE, dates), _sums(connection, table, here, dates)

    def query(self, sql: str) -> pa.Table:
        """See :class:`~retail_platform.warehouse.protocol.Warehouse`."""
        if not self.settings.warehouse_path.exists():
            raise RetailError(
                f"the warehouse {self.settings.warehouse_path} does not exist; load a day first (`retail run`), "
                "or check RETAIL_HOME"
            )
        with self._connection() as connection:
            try:
                return connection.sql(sql).to_arrow_table()
            except duckdb.CatalogException as error:
                raise RetailError(
                    f"the warehouse has not everything yet ({_first_line(error)}); load and build a day (`retail run`)"
                ) from error

    def publish(self, marts: Sequence[str], directory: Path) -> list[Path]:
        """See :class:`~retail_platform.warehouse.protocol.Warehouse`."""
        directory.mkdir(parents=True, exist_ok=True)
        with self._connection() as connection:
            try:
                return [_publish(connection, mart, directory) for mart in marts]
            except duckdb.CatalogException as error:
                raise RetailError(
                    f"a mart is missing ({_first_line(error)}); build the marts first (`retail run`)"
                ) from error

    @contextlib.contextmanager
    def at_rest(self) -> Iterator[Path]:
        """The file, with all that was committed in it; until the end of the block nobody writes to it."""
        with self._connection() as connection:
            connection.execute("checkpoint")
            yield self.settings.warehouse_path

    @contextlib.contextmanager
    def _connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection for a few statements; waits for whoever has the file. Uncommitted work is rolled back."""
        path = self.settings.warehouse_path
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = _connect(path)
        try:
            connection.execute("set TimeZone = 'UTC'")
            yield connection
        finally:
            connection.close()


def _connect(path: Path) -> duckdb.DuckDBPyConnection:
    deadline = time.monotonic() + _LOCK_WAIT_SECONDS
    while True:
        try:
            return duckdb.connect(path)
        except duckdb.IOException as error:
            if _LOCK_MESSAGE not in str(error):
                raise RetailError(f"the warehouse {path} cannot be opened: {error}") from error
            if time.monotonic() > deadline:
                raise RetailError(
                    f"the warehouse {path} is in use: {error}; close that process, the file has one user at a time"
                ) from error
        time.sleep(_LOCK_POLL_SECONDS)


def _create_tables(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute(f"create schema if not exists {sql.RAW}")
    for table in (*WAREHOUSE_TABLES, sql.LOADS):
        connection.execute(sql.create_table(table, "duckdb"))
    known = connection.execute(sql.raw_columns("duckdb")).fetchall()
    for statement in sql.add_columns(known, "duckdb"):
        connection.execute(statement)


def _stage(connection: duckdb.DuckDBPyConnection, manifest: Manifest) -> int:
    """Read the manifest's rows into the temporary table, and count them.

    Raises:
        RetailError: a key is there twice: merging it would let one of the two win by chance.
    """
    table = manifest.table
    connection.execute(f"create or replace temp table stage as from {sql.address(table, 'duckdb')} limit 0")
    if manifest.files:
        let_read(connection, manifest.file_system)
        connection.execute(*_read_files(manifest))
    refuse_repeated_keys(manifest, _number(connection, sql.repeated_keys(table, _STAGE, "duckdb")))
    return _number(connection, f"select count(*) from {_STAGE}")


def _read_files(manifest: Manifest) -> tuple[str, dict[str, object]]:
    """The statement that fills the stage from the files, and its parameters."""
    table = manifest.table
    fill = f"insert into {_STAGE} by name select {sql.columns_cast(table, 'duckdb')} from ({rows_sql(manifest)})"
    if sql.by_partition(table) or manifest.dates is None:
        return fill, {}
    return f"{fill} where list_has_any(business_dates, $dates::date[])", {"dates": list(manifest.dates)}


def _dates_of(connection: duckdb.DuckDBPyConnection, table: Table) -> tuple[dt.date, ...]:
    """Every date that the stage or the warehouse holds."""
    rows = connection.execute(sql.all_dates(table, (_STAGE, sql.address(table, "duckdb")), "duckdb")).fetchall()
    return tuple(sorted(row[0] for row in rows))


def _sums(
    connection: duckdb.DuckDBPyConnection, table: Table, relation: str, dates: Sequence[dt.date]
) -> list[LoadedDate]:
    """What ``relation`` holds for each of ``dates``, in their order."""
    statement = sql.sums_by_date(table, sql.dated(table, relation, "duckdb"), dates, "duckdb")
    return loaded_dates(table, dates, connection.execute(statement).fetchall())


def _record(
    connection: duckdb.DuckDBPyConnection, manifest: Manifest, loaded: Sequence[LoadedDate], run_id: str
) -> None:
    """Write the load into the ledger."""
    for row in ledger_rows(manifest, loaded, run_id):
        connection.execute(f"insert into {sql.address(sql.LOADS, 'duckdb')} values (?, ?, ?, ?, ?, ?, ?, ?)", row)


def _publish(connection: duckdb.DuckDBPyConnection, mart: str, directory: Path) -> Path:
    with published(mart, directory) as (path, draft):
        connection.execute(f"copy {MARTS}.{sql.identifier(mart, 'duckdb')} to '{_literal(draft)}' (format parquet)")
    return path


def _first_line(error: duckdb.Error) -> str:
    return str(error).splitlines()[0]


def _literal(path: Path) -> str:
    return str(path).replace("'", "''")


def _number(connection: duckdb.DuckDBPyConnection, statement: str) -> int:
    """The one number that a statement answers with: a count, or the rows it changed."""
    row = connection.execute(statement).fetchone()
    return int(row[0]) if row else 0
