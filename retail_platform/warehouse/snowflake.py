"""The warehouse of production: a Snowflake database, reached through Dagster's Snowflake resource.

A load copies the exact Parquet files of one silver version into a temporary table, and merges that in one transaction.
All of it is done again where an error can pass: a load that was committed already then changes nothing.
"""

from __future__ import annotations

import datetime as dt
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from retail_platform.contracts import WAREHOUSE_TABLES, Table
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
from retail_platform.warehouse.snowflake_session import LOOK, Session, in_session


@dataclass(frozen=True, slots=True)
class SnowflakeWarehouse:
    """The :class:`~retail_platform.warehouse.protocol.Warehouse` of ``WAREHOUSE=snowflake``."""

    settings: Settings

    def create_tables(self) -> None:
        """Create the ``raw`` tables that are missing."""
        in_session(self.settings, _create_tables, "create tables")

    def load(self, manifest: Manifest, run_id: str) -> LoadResult:
        """See :class:`~retail_platform.warehouse.protocol.Warehouse`."""
        started = time.monotonic()
        return in_session(
            self.settings,
            lambda session: self._load(session, manifest, run_id, started),
            "load",
            manifest.dates,
            table=manifest.table.path,
            run=run_id,
        )

    def _load(self, session: Session, manifest: Manifest, run_id: str, started: float) -> LoadResult:
        table = manifest.table
        _create_tables(session)
        stage = self._stage(session, manifest)
        rows = session.number(f"select count(*) from {stage}")
        dates = manifest.dates if manifest.dates is not None else _dates_of(session, table, stage)
        session.run("begin")
        inserted, updated = session.merged(sql.merge(table, stage, "snowflake"))
        deleted = 0
        if sql.by_partition(table):
            deleted = session.changed(sql.delete_missing(table, stage, dates, "snowflake"))
        loaded = tuple(_sums(session, table, stage, dates))
        _record(session, manifest, loaded, run_id)
        session.run("commit")
        return LoadResult(
            table.path,
            manifest.version,
            rows,
            manifest.bytes,
            inserted,
            updated,
            deleted,
            loaded,
            time.monotonic() - started,
            tuple(session.query_ids),
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

        def both(session: Session) -> tuple[list[LoadedDate], list[LoadedDate]]:
            stage, here = self._stage(session, silver), sql.address(table, "snowflake")
            if not sql.by_partition(table):
                # A batch that another date's later load brought is not of this version.
                key = ", ".join(sql.identifier(name, "snowflake") for name in table.key)
                here = f"(select * from {here} where ({key}) in (select {key} from {stage}))"
            return _sums(session, table, stage, dates), _sums(session, table, here, dates)

        return in_session(self.settings, both, "reconcile", dates, table=table.path)

    def query(self, sql: str) -> pa.Table:
        """See :class:`~retail_platform.warehouse.protocol.Warehouse`."""
        return in_session(self.settings, lambda session: session.table(sql), "query")

    def publish(self, marts: Sequence[str], directory: Path) -> list[Path]:
        """See :class:`~retail_platform.warehouse.protocol.Warehouse`."""
        directory.mkdir(parents=True, exist_ok=True)
        return in_session(
            self.settings, lambda session: [_publish(session, mart, directory) for mart in marts], "publish"
        )

    def _stage(self, session: Session, manifest: Manifest) -> str:
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
            return LOOK
        return (
            f"SNOWFLAKE_STAGE {settings.snowflake_stage} must exist, be on {lake_url(settings)} and be usable by "
            "SNOWFLAKE_ROLE (docs/operate/snowflake.md)"
        )


def _create_tables(session: Session) -> None:
    session.run(f"create schema if not exists {sql.identifier(sql.RAW, 'snowflake')}")
    for table in (*WAREHOUSE_TABLES, sql.LOADS):
        session.run(sql.create_table(table, "snowflake"))
    for statement in sql.add_columns(session.rows(sql.raw_columns("snowflake")), "snowflake"):
        session.run(statement)


def _dates_of(session: Session, table: Table, stage: str) -> tuple[dt.date, ...]:
    """Every date that the stage or the warehouse holds."""
    rows = session.rows(sql.all_dates(table, (stage, sql.address(table, "snowflake")), "snowflake"))
    return tuple(sorted(row[0] for row in rows))


def _sums(session: Session, table: Table, relation: str, dates: Sequence[dt.date]) -> list[LoadedDate]:
    """What ``relation`` holds for each of ``dates``, in their order."""
    dated = sql.dated(table, relation, "snowflake")
    return loaded_dates(table, dates, session.rows(sql.sums_by_date(table, dated, dates, "snowflake")))


def _record(session: Session, manifest: Manifest, loaded: Sequence[LoadedDate], run_id: str) -> None:
    """Write the load into the ledger."""
    into = f"insert into {sql.address(sql.LOADS, 'snowflake')} values (%s, %s, %s, %s, %s, %s, %s, %s)"
    for row in ledger_rows(manifest, loaded, run_id):
        session.run(into, row)


def _publish(session: Session, mart: str, directory: Path) -> Path:
    with published(mart, directory) as (path, draft):
        pq.write_table(session.table(f"select * from {MARTS}.{sql.identifier(mart, 'snowflake')}"), draft)
    return path
