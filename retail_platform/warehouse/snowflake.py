"""The warehouse of production: a Snowflake database, reached through Dagster's Snowflake resource.

A load copies the exact Parquet files of one silver version into a temporary table, and merges that in one transaction.
The libraries take seconds to import: they are, when a connection is opened.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from retail_platform.contracts import WAREHOUSE_TABLES, Table
from retail_platform.errors import RetailError
from retail_platform.lakehouse.location import data_file
from retail_platform.lakehouse.manifest import BUSINESS_DATE, Manifest
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
from retail_platform.warehouse.snowflake_files import copy_from_bucket, lake_url, put_and_copy

if TYPE_CHECKING:
    from snowflake.connector import SnowflakeConnection
    from snowflake.connector.cursor import SnowflakeCursor

_LOGIN_SECONDS = 30
_NETWORK_SECONDS = 120
_STATEMENT_SECONDS = 1800
_MISSING_OBJECT = 2003
_LOOK = "look at its query history"


@dataclass(frozen=True, slots=True)
class SnowflakeWarehouse:
    """The :class:`~retail_platform.warehouse.protocol.Warehouse` of ``WAREHOUSE=snowflake``."""

    settings: Settings

    def create_tables(self) -> None:
        """Create the ``raw`` tables that are missing."""
        with self._session("create tables") as session:
            _create_tables(session)

    def load(self, manifest: Manifest, run_id: str) -> LoadResult:
        """See :class:`~retail_platform.warehouse.protocol.Warehouse`."""
        started = time.monotonic()
        table = manifest.table
        with self._session("load", manifest.dates, table=table.path, run=run_id) as session:
            _create_tables(session)
            stage = self._stage(session, manifest)
            rows = session.number(f"select count(*) from {stage}")
            dates = manifest.dates if manifest.dates is not None else _dates_of(session, table, stage)
            session.run("begin")
            inserted, updated = session.merged(sql.merge(table, stage, "snowflake"))
            deleted = 0
            if sql.by_partition(table):
                deleted = session.changed(sql.delete_missing(table, stage, dates, "snowflake"))
            loaded = _sums(session, table, stage, dates)
            _record(session, manifest, loaded, run_id)
            session.run("commit")
            query_ids = tuple(session.query_ids)
        seconds = time.monotonic() - started
        return LoadResult(
            table.path,
            manifest.version,
            rows,
            manifest.bytes,
            inserted,
            updated,
            deleted,
            tuple(loaded),
            seconds,
            query_ids,
        )

    def loaded_versions(self, table: Table, dates: Sequence[dt.date]) -> dict[dt.date, int]:
        """See :class:`~retail_platform.warehouse.protocol.Warehouse`."""
        found = self.query(sql.last_loads(table, dates, "snowflake"))
        return {row[BUSINESS_DATE]: int(row["delta_version"]) for row in found.to_pylist()}

    def reconcile(self, table: Table, dates: Sequence[dt.date]) -> list[Difference]:
        """See :class:`~retail_platform.warehouse.protocol.Warehouse`."""
        return reconciliation(self.settings, table, dates, self.loaded_versions(table, dates), self._both)

    def _both(self, silver: Manifest) -> tuple[list[LoadedDate], list[LoadedDate]]:
        table, dates = silver.table, silver.dates or ()
        here = sql.address(table, "snowflake")
        with self._session("reconcile", dates, table=table.path) as session:
            stage = self._stage(session, silver)
            if not sql.by_partition(table):
                # A batch that another date's later load brought is not of this version.
                key = ", ".join(sql.identifier(name, "snowflake") for name in table.key)
                here = f"(select * from {here} where ({key}) in (select {key} from {stage}))"
            return _sums(session, table, stage, dates), _sums(session, table, here, dates)

    def query(self, sql: str) -> pa.Table:
        """See :class:`~retail_platform.warehouse.protocol.Warehouse`."""
        with self._session("query") as session:
            return session.table(sql)

    def publish(self, marts: Sequence[str], directory: Path) -> list[Path]:
        """See :class:`~retail_platform.warehouse.protocol.Warehouse`."""
        directory.mkdir(parents=True, exist_ok=True)
        with self._session("publish") as session:
            return [_publish(session, mart, directory) for mart in marts]

    def _stage(self, session: _Session, manifest: Manifest) -> str:
        """Copy the manifest's rows into a temporary table, and name it.

        Raises:
            RetailError: a key is there twice.
        """
        table = manifest.table
        schema = sql.identifier(self.settings.snowflake_schema, "snowflake")
        name = sql.identifier(f"load_{uuid.uuid4().hex}", "snowflake")
        session.run(f"create schema if not exists {schema}")
        session.run(f"use schema {schema}")
        session.run(f"create temporary table {name} like {sql.address(table, 'snowflake')}")
        if manifest.files:
            for statement in self._copies(manifest, name):
                session.run(statement, mend=self._mend_of_copies())
        if not sql.by_partition(table) and manifest.dates is not None:
            key = ", ".join(sql.identifier(column, "snowflake") for column in table.key)
            dated, within = sql.dated(table, name, "snowflake"), sql.within(manifest.dates, "snowflake")
            touched = f"select {key} from {dated} as dated where {within}"
            session.run(f"delete from {name} where ({key}) not in ({touched})")
        refuse_repeated_keys(manifest, session.number(sql.repeated_keys(table, name, "snowflake")))
        return name

    def _copies(self, manifest: Manifest, into: str) -> Iterator[str]:
        stage = self.settings.snowflake_stage
        if self.settings.s3_bucket is None or stage is None:
            return put_and_copy(manifest, into, f"FILES_{uuid.uuid4().hex}".upper())
        return copy_from_bucket(manifest, into, stage, data_file(self.settings, manifest.table, ""))

    def _mend_of_copies(self) -> str:
        settings = self.settings
        if settings.s3_bucket is None:
            return _LOOK
        return (
            f"SNOWFLAKE_STAGE {settings.snowflake_stage} must exist, be on {lake_url(settings)} and be usable by "
            "SNOWFLAKE_ROLE (docs/operate/snowflake.md)"
        )

    @contextlib.contextmanager
    def _session(self, doing: str, dates: Sequence[dt.date] | None = None, **tags: str) -> Iterator[_Session]:
        """A connection for a few statements, tagged with what it does. Uncommitted work is rolled back."""
        connection = self._connect(sql.query_tag(doing, dates, **tags))
        try:
            yield _Session(connection, [])
        finally:
            connection.close()

    def _connect(self, tag: str) -> SnowflakeConnection:
        from dagster_snowflake import SnowflakeResource  # noqa: PLC0415  seconds, and 370 MB
        from snowflake.connector import errors  # noqa: PLC0415

        settings = self.settings
        more: dict[str, Any] = {
            "port": settings.snowflake_port,
            "protocol": settings.snowflake_protocol,
            "session_parameters": {
                "QUERY_TAG": tag,
                "TIMEZONE": "UTC",
                "STATEMENT_TIMEOUT_IN_SECONDS": _STATEMENT_SECONDS,
            },
        }
        if settings.snowflake_host is not None:
            more["host"] = settings.snowflake_host
        password, key = settings.snowflake_password, settings.snowflake_private_key_path
        resource = SnowflakeResource(
            account=settings.snowflake_account,
            user=settings.snowflake_user or "",
            password=password.get_secret_value() if password else None,
            private_key_path=str(key) if key else None,
            database=settings.snowflake_database,
            schema=settings.snowflake_schema,
            warehouse=settings.snowflake_warehouse,
            role=settings.snowflake_role,
            login_timeout=_LOGIN_SECONDS,
            network_timeout=_NETWORK_SECONDS,
            autocommit=True,
            additional_snowflake_connection_args=more,
        )
        try:
            # Closed by whoever asked: the resource closes only what ended well.
            connection: SnowflakeConnection = resource.get_connection().__enter__()
        except (errors.Error, OSError, ValueError) as error:
            raise RetailError(
                f"Snowflake cannot be reached or refuses the login: {_one_line(error)}; check SNOWFLAKE_ACCOUNT, "
                "SNOWFLAKE_USER and SNOWFLAKE_PRIVATE_KEY_PATH or SNOWFLAKE_PASSWORD"
            ) from None
        return connection


@dataclass(frozen=True, slots=True)
class _Session:
    """Statements on one connection; ``query_ids`` are those they had."""

    connection: SnowflakeConnection
    query_ids: list[str]

    def run(self, statement: str, parameters: Any = None, mend: str | None = None) -> SnowflakeCursor:
        with _in_one_line(mend):
            cursor = self.connection.cursor()
            cursor.execute(statement, parameters)
        if cursor.sfqid:
            self.query_ids.append(cursor.sfqid)
        return cursor

    def rows(self, statement: str) -> list[Any]:
        cursor = self.run(statement)
        with _in_one_line():
            return list(cursor.fetchall())

    def number(self, statement: str) -> int:
        return int(self.rows(statement)[0][0])

    def merged(self, statement: str) -> tuple[int, int]:
        """The rows that a MERGE inserted and updated, as it says itself."""
        cursor = self.run(statement)
        with _in_one_line():
            said = dict(zip((column[0] for column in cursor.description), cursor.fetchall()[0], strict=True))
        return int(said["number of rows inserted"]), int(said["number of rows updated"])

    def changed(self, statement: str) -> int:
        """How many rows a statement changed."""
        return int(self.run(statement).rowcount or 0)

    def table(self, statement: str) -> pa.Table:
        cursor = self.run(statement)
        with _in_one_line():
            found = cursor.fetch_arrow_all(force_return_table=True)
        return found.rename_columns([name.lower() for name in found.column_names])


@contextlib.contextmanager
def _in_one_line(mend: str | None = None) -> Iterator[None]:
    """What Snowflake refuses within the block, as one line with the mend."""
    from snowflake.connector import errors  # noqa: PLC0415

    try:
        yield
    except errors.Error as error:
        if mend is None and error.errno == _MISSING_OBJECT:
            raise RetailError(
                f"the warehouse has not everything yet, or SNOWFLAKE_ROLE may not see it ({_one_line(error)}); "
                "load and build a day (`retail run`)"
            ) from None
        raise RetailError(f"Snowflake refused a statement: {_one_line(error)}; {mend or _LOOK}") from None


def _create_tables(session: _Session) -> None:
    session.run(f"create schema if not exists {sql.identifier(sql.RAW, 'snowflake')}")
    for table in (*WAREHOUSE_TABLES, sql.LOADS):
        session.run(sql.create_table(table, "snowflake"))


def _dates_of(session: _Session, table: Table, stage: str) -> tuple[dt.date, ...]:
    """Every date that the stage or the warehouse holds."""
    rows = session.rows(sql.all_dates(table, (stage, sql.address(table, "snowflake")), "snowflake"))
    return tuple(sorted(row[0] for row in rows))


def _sums(session: _Session, table: Table, relation: str, dates: Sequence[dt.date]) -> list[LoadedDate]:
    """What ``relation`` holds for each of ``dates``, in their order."""
    dated = sql.dated(table, relation, "snowflake")
    return loaded_dates(table, dates, session.rows(sql.sums_by_date(table, dated, dates, "snowflake")))


def _record(session: _Session, manifest: Manifest, loaded: Sequence[LoadedDate], run_id: str) -> None:
    """Write the load into the ledger."""
    into = f"insert into {sql.address(sql.LOADS, 'snowflake')} values (%s, %s, %s, %s, %s, %s, %s, %s)"
    for row in ledger_rows(manifest, loaded, run_id):
        session.run(into, row)


def _publish(session: _Session, mart: str, directory: Path) -> Path:
    with published(mart, directory) as (path, draft):
        pq.write_table(session.table(f"select * from {MARTS}.{sql.identifier(mart, 'snowflake')}"), draft)
    return path


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
