"""From the lake into the warehouse's ``raw`` schema, a business date at a time, and the proof that all of it arrived."""

from collections.abc import Sequence
from dataclasses import replace

import dagster as dg

from retail_platform.contracts.model import Table
from retail_platform.defs.common import (
    WAREHOUSE_POOL,
    Materialized,
    Verdicts,
    daily_partitions,
    dates_of,
    one_line_failures,
    per_date,
    table_spec,
    verdicts,
)
from retail_platform.lakehouse.manifest import manifest
from retail_platform.lakehouse.reading import fingerprints
from retail_platform.settings import Settings
from retail_platform.warehouse import sql
from retail_platform.warehouse.loading import tables_to_load

#: Metadata of a load: the fingerprint of each business date's silver files that it read.
LOADED_FROM = "loaded_from"


def raw_key(table: Table) -> dg.AssetKey:
    """The asset of a lake table in the warehouse: ``raw/<table>``."""
    return dg.AssetKey(["raw", table.name])


def build(settings: Settings) -> dg.Definitions:
    """One load and one reconciliation a table, and the ledger of the loads."""
    tables = tables_to_load(settings)
    ledger = table_spec(sql.LOADS, [raw_key(table) for table in tables], {settings.warehouse})
    return dg.Definitions(
        assets=[*(_load(settings, table) for table in tables), ledger],
        asset_checks=[_reconciliation(settings, table) for table in tables if sql.by_partition(table)],
    )


def _load(settings: Settings, table: Table) -> dg.AssetsDefinition:
    partitions = daily_partitions(settings)
    in_warehouse = replace(table, layer="raw", description=f"{table.description} As the warehouse loaded it.")

    @dg.multi_asset(
        name=f"raw_{table.name}",
        specs=[table_spec(in_warehouse, [list(table.asset_key)], {settings.warehouse}, partitions_def=partitions)],
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        pool=WAREHOUSE_POOL,
    )
    def load(context: dg.AssetExecutionContext) -> Materialized:
        """Merge these dates' rows of one version of the lake table, in one transaction."""
        from retail_platform.warehouse.factory import open_warehouse

        dates = dates_of(context)
        with one_line_failures():
            # Before the manifest is read: a file that comes in between makes the load look older, never newer, than it is.
            known = fingerprints(settings, table) if sql.by_partition(table) else {}
            result = open_warehouse(settings).load(manifest(settings, table, dates), context.run.run_id)
        rows = [(entry.business_date, entry.rows, *entry.sums.values()) for entry in result.dates]
        sums: Sequence[str] = tuple(result.dates[0].sums) if result.dates else ()
        return dg.MaterializeResult(
            metadata={
                "dagster/row_count": result.rows,
                "delta_version": result.delta_version,
                "inserted": result.inserted,
                "updated": result.updated,
                "deleted": result.deleted,
                "bytes": result.bytes,
                "seconds": round(result.seconds, 3),
                "query ids": list(result.query_ids),
                LOADED_FROM: {date.isoformat(): known.get(date, "") for date in dates},
                "dates": per_date(rows, ("business_date", "rows", *sums)),
            }
        )

    return load


def _reconciliation(settings: Settings, table: Table) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=raw_key(table),
        name="reconciles_with_silver",
        blocking=True,
        partitions_def=daily_partitions(settings),
        pool=WAREHOUSE_POOL,
        description="Rows and sums of each date equal those of the silver version that was loaded.",
    )
    def reconciles_with_silver(context: dg.AssetCheckExecutionContext) -> Verdicts:
        from retail_platform.warehouse.factory import open_warehouse
        from retail_platform.warehouse.protocol import by_date

        dates = dates_of(context)
        with one_line_failures():
            found = open_warehouse(settings).reconcile(table, dates)
        yield from verdicts(context, dates, by_date(found))

    return reconciles_with_silver
