"""What people take away: the daily KPI file, the marts as files, and the proof that they are right."""

import datetime as dt

import dagster as dg

from retail_platform.defs.common import (
    WAREHOUSE_POOL,
    Materialized,
    Verdicts,
    daily_partitions,
    dates_of,
    one_line_failures,
    per_date,
    verdicts,
)
from retail_platform.settings import Settings
from retail_platform.warehouse.dbt import MARTS

KPI_KEY = dg.AssetKey(["kpi", "aggregates_daily"])
PUBLISHED_KEY = dg.AssetKey(["kpi", "published_marts"])
_DAILY = dg.AssetKey(["marts", "agg_daily_kpis"])
_SEGMENTS = dg.AssetKey(["marts", "customer_rfm_snapshot"])
_STALE_AFTER = dt.timedelta(hours=36)
_NAMES = ("date", "orders", "revenue_usd", "avg_order_value_usd", "streaming_latency_ms")


def build(settings: Settings) -> dg.Definitions:
    """The KPI file, the published marts, the tie-out, and the segments of stream and batch."""
    return dg.Definitions(
        assets=[_kpi_file(settings), _published_marts(settings)], asset_checks=[_tie_out(settings), _segments(settings)]
    )


def _kpi_file(settings: Settings) -> dg.AssetsDefinition:
    columns = [
        dg.TableColumn("date", "date", description="Business date; the file's key, sorted."),
        dg.TableColumn("orders", "integer", description="Sales of the day."),
        dg.TableColumn("revenue_usd", "decimal", description="Sales less returns, at the day's rates, in US dollars."),
        dg.TableColumn("avg_order_value_usd", "decimal", description="Revenue by order; empty without orders."),
        dg.TableColumn(
            "streaming_latency_ms", "integer", description="Median of silver commit less Kafka append, in milliseconds."
        ),
    ]

    @dg.asset(
        key=KPI_KEY,
        deps=[_DAILY],
        partitions_def=daily_partitions(settings),
        backfill_policy=dg.BackfillPolicy.single_run(),
        group_name="kpi",
        kinds={"csv"},
        owners=["team:retail-sales"],
        pool=WAREHOUSE_POOL,
        metadata={"dagster/column_schema": dg.TableSchema(columns)},
        freshness_policy=dg.FreshnessPolicy.time_window(fail_window=_STALE_AFTER),
        description=(
            "The day in one line: orders, revenue, average order value in US dollars, and how fast the events arrived. "
            "One row a business date in outputs/aggregates_daily.csv; a rerun of a date replaces its row."
        ),
    )
    def aggregates_daily(context: dg.AssetExecutionContext) -> Materialized:
        from retail_platform.warehouse.factory import open_warehouse
        from retail_platform.warehouse.kpi_file import daily_kpis, upsert_daily

        dates = dates_of(context)
        with one_line_failures():
            rows = daily_kpis(open_warehouse(settings), dates)
            upsert_daily(settings.kpi_csv, rows, dates)
        shown = [(r.date, r.orders, r.revenue_usd, r.avg_order_value_usd, r.streaming_latency_ms) for r in rows]
        return dg.MaterializeResult(
            metadata={
                "path": dg.MetadataValue.path(settings.kpi_csv),
                "dagster/row_count": len(rows),
                "dates without events": len(dates) - len(rows),
                "rows": per_date(shown, _NAMES),
            }
        )

    return aggregates_daily


def _published_marts(settings: Settings) -> dg.AssetsDefinition:
    @dg.asset(
        key=PUBLISHED_KEY,
        deps=[["marts", name] for name in MARTS],
        partitions_def=daily_partitions(settings),
        backfill_policy=dg.BackfillPolicy.single_run(),
        group_name="kpi",
        kinds={"parquet"},
        owners=["team:analytics"],
        pool=WAREHOUSE_POOL,
        metadata={"marts": ", ".join(MARTS)},
        description=(
            "Every mart, whole, as outputs/marts/<mart>.parquet, each replaced atomically: for dashboards and notebooks, "
            "which must not open the warehouse's file while it is written."
        ),
    )
    def published_marts() -> Materialized:
        from retail_platform.warehouse.factory import open_warehouse

        with one_line_failures():
            files = open_warehouse(settings).publish(MARTS, settings.marts_dir)
        return dg.MaterializeResult(
            metadata={
                "path": dg.MetadataValue.path(settings.marts_dir),
                "files": len(files),
                "bytes": sum(file.stat().st_size for file in files),
            }
        )

    return published_marts


def _tie_out(settings: Settings) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=_DAILY,
        name="ties_out_with_silver",
        blocking=True,
        partitions_def=daily_partitions(settings),
        pool=WAREHOUSE_POOL,
        description="The mart's figures equal, to the cent, those computed a second time straight from silver.",
    )
    def ties_out_with_silver(context: dg.AssetCheckExecutionContext) -> Verdicts:
        from retail_platform.warehouse.factory import open_warehouse
        from retail_platform.warehouse.protocol import by_date
        from retail_platform.warehouse.tie_out import tie_out

        dates = dates_of(context)
        with one_line_failures():
            found = tie_out(open_warehouse(settings), settings, dates)
        yield from verdicts(context, dates, by_date(found))

    return ties_out_with_silver


def _segments(settings: Settings) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=_SEGMENTS,
        name="live_segments_equal_the_mart",
        partitions_def=daily_partitions(settings),
        pool=WAREHOUSE_POOL,
        description=(
            "At the midnight with which the day began, the last live segment of each customer equals that of customer_rfm for "
            "the day. Nobody is compared when that midnight was not sent, nor who bought on the day. A warning: the "
            "application began when Kafka had deleted some of the year, or missed what silver has."
        ),
    )
    def live_segments_equal_the_mart(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        from retail_platform.warehouse.factory import open_warehouse
        from retail_platform.warehouse.segments import compare_segments

        with one_line_failures():
            found = compare_segments(open_warehouse(settings), settings, dates_of(context))
        wrong = [f"{one.date}: {difference}" for one in found for difference in one.differences]
        shown = [(one.date, one.customers, len(one.differences)) for one in found]
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        return dg.AssetCheckResult(
            passed=not wrong,
            severity=dg.AssetCheckSeverity.WARN,
            description=f"{wrong[0]}{more}" if wrong else f"{sum(one.customers for one in found)} customers compared",
            metadata={"days": per_date(shown, ("date", "customers", "different"))},
        )

    return live_segments_equal_the_mart
