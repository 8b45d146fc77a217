"""Silver by business date, what materializing one means (derive it again from bronze); the lake's checks and upkeep."""

import contextlib
import dataclasses
import datetime as dt
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg

from retail_platform import kafka
from retail_platform.contracts import (
    ALL_TABLES,
    BRONZE_EVENTS,
    INGEST_BATCHES,
    QUARANTINE_EVENTS,
    SALES_BY_MINUTE,
    TRANSACTIONS,
)
from retail_platform.contracts.model import Table, TopicContract
from retail_platform.defs.common import (
    Materialized,
    Verdicts,
    daily_partitions,
    dates_of,
    one_line_failures,
    per_date,
    table_spec,
    verdicts,
)
from retail_platform.lakehouse import losses, quality, reading, requests
from retail_platform.lakehouse.lease import lake_lease
from retail_platform.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

MAINTENANCE_JOB = "lake_maintenance"
_KINDS = {"spark", "deltalake"}
_QUARANTINE_WINDOW = dt.timedelta(hours=24)


class SparkResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The Spark session of a Dagster step: dagster-pyspark's lazy resource, made when a step first needs it."""

    @contextlib.contextmanager
    def session(self, settings: Settings) -> "Iterator[SparkSession]":
        """A session for one step; stopped after it, so that a long-lived process does not keep a JVM."""
        from dagster_pyspark import LazyPySparkResource

        from retail_platform.ingest.session import prepare_environment
        from retail_platform.ingest.spark_config import spark_config

        prepare_environment(settings)
        spark: SparkSession = LazyPySparkResource(spark_config=spark_config(settings)).spark_session
        try:
            yield spark
        finally:
            spark.stop()


def build(settings: Settings) -> dg.Definitions:
    """Silver, minute sales, the checks on every table of the lake, and its maintenance."""
    silver = [_silver(settings, contract) for contract in settings.topics]
    checks = [_contract_check(settings, table) for table in (BRONZE_EVENTS, QUARANTINE_EVENTS, INGEST_BATCHES)]
    checks += [_contract_check(settings, table) for table in _silver_tables(settings)]
    checks += [_uniqueness_check(settings, table) for table in _silver_tables(settings)]
    checks += [_balance_check(settings), _quarantine_check(settings), _offsets_check(settings)]
    checks.append(_lost_offsets_check(settings))
    return dg.Definitions(
        assets=[*silver, _minute_sales(settings)],
        jobs=[_maintenance(settings)],
        asset_checks=checks,
        resources={"spark": SparkResource()},
    )


def _silver_tables(settings: Settings) -> list[Table]:
    return [*(contract.silver_table for contract in settings.topics), SALES_BY_MINUTE]


def _silver(settings: Settings, contract: TopicContract) -> dg.AssetsDefinition:
    table = contract.silver_table
    partitions = daily_partitions(settings)

    @dg.multi_asset(
        name=f"silver_{table.name}",
        specs=[table_spec(table, [list(BRONZE_EVENTS.asset_key)], _KINDS, partitions_def=partitions)],
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def silver(context: dg.AssetExecutionContext, spark: SparkResource) -> Materialized:
        """Derive these days again from bronze. The stream writes silver by itself; this is for after a rule changed."""
        dates = dates_of(context)
        arguments = {"table": table.name, "dates": [date.isoformat() for date in dates]}
        result = _do(settings, spark, "rebuild_silver", arguments)
        return dg.MaterializeResult(metadata={"dagster/row_count": result["rows_after"], **result})

    return silver


def _minute_sales(settings: Settings) -> dg.AssetsDefinition:
    partitions = daily_partitions(settings)
    spec = table_spec(SALES_BY_MINUTE, [list(TRANSACTIONS.silver_table.asset_key)], _KINDS, partitions_def=partitions)

    @dg.multi_asset(
        name="silver_sales_by_minute",
        specs=[spec],
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def sales_by_minute(context: dg.AssetExecutionContext, spark: SparkResource) -> Materialized:
        """Sum these days' minutes again from silver."""
        arguments = {"dates": [date.isoformat() for date in dates_of(context)]}
        result = _do(settings, spark, "rebuild_minutes", arguments)
        return dg.MaterializeResult(metadata={"dagster/row_count": result["rows_after"], **result})

    return sales_by_minute


def _maintenance(settings: Settings) -> dg.JobDefinition:
    paths = [table.path for table in ALL_TABLES]

    @dg.op(description="OPTIMIZE, then VACUUM, of every table; files and bytes before and after are in the metadata.")
    def maintain(context: dg.OpExecutionContext, spark: SparkResource) -> None:
        results = [_do(settings, spark, work, {"tables": paths}) for work in ("optimize", "vacuum")]
        compacted, cleaned = ({entry["table"]: entry for entry in result["tables"]} for result in results)
        # In the order of the contracts, without the tables that there are only after something happened.
        there = [path for path in paths if path in compacted]
        sizes = [(path, compacted[path]["before"], cleaned[path]["after"]) for path in there]
        names = ("files", "bytes", "files_on_disk", "bytes_on_disk", "log_files")
        rows = [(path, *(size[name] for name in names for size in (before, after))) for path, before, after in sizes]
        headings = ("table", *(f"{name.replace('_', ' ')} {when}" for name in names for when in ("before", "after")))
        context.add_output_metadata({"tables": per_date(rows, headings), "done by": results[-1]["done by"]})

    @dg.job(
        name=MAINTENANCE_JOB,
        description=(
            "Compacts the small files of closed days, and deletes what no version of the last LAKE_HISTORY_DAYS needs: by "
            "the running stream between two batches, or by the step when none runs. No row changes."
        ),
    )
    def lake_maintenance() -> None:
        maintain()

    return lake_maintenance


def _do(settings: Settings, spark: SparkResource, work: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Have the running stream do it between two batches; when there is none, do it here, with dagster-pyspark's session."""
    with one_line_failures():
        return requests.have_done(settings, work, arguments, lambda: _do_here(settings, spark, work, arguments))


def _do_here(settings: Settings, spark: SparkResource, work: str, arguments: dict[str, Any]) -> dict[str, Any]:
    from retail_platform.ingest.lake import open_lake
    from retail_platform.ingest.session import jvm_pid
    from retail_platform.ingest.work import do_work

    with lake_lease(settings, work) as lease, spark.session(settings) as session:
        lease.name_jvm(jvm_pid(session))
        return do_work(open_lake(session, settings), settings, work, arguments)


# --- Checks ----------------------------------------------------------------------------------------------------------


def _contract_check(settings: Settings, table: Table) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=list(table.asset_key),
        name="contract",
        description="The table has exactly the columns of its contract, in its types.",
    )
    def contract() -> dg.AssetCheckResult:
        with one_line_failures():
            found = quality.contract_differences(settings, table)
        return dg.AssetCheckResult(
            passed=not found, description="; ".join(found) or None, metadata={"columns": len(table.columns)}
        )

    return contract


def _uniqueness_check(settings: Settings, table: Table) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=list(table.asset_key),
        name="unique_key",
        blocking=True,
        partitions_def=daily_partitions(settings),
        description=f"No two rows share {', '.join(table.key)}: nothing is counted twice.",
    )
    def unique_key(context: dg.AssetCheckExecutionContext) -> Verdicts:
        dates = dates_of(context)
        with one_line_failures():
            found = quality.duplicate_keys(settings, table, dates)
        yield from verdicts(
            context,
            dates,
            {entry.business_date: [f"{entry.keys} keys occur twice, one is {entry.example}"] for entry in found},
        )

    return unique_key


def _balance_check(settings: Settings) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=list(BRONZE_EVENTS.asset_key),
        name="balance",
        description="Per topic: bronze = silver events + quarantine + duplicates dropped. Nothing is lost or made up.",
    )
    def balance() -> dg.AssetCheckResult:
        with one_line_failures():
            found = quality.balance(settings)
        rows = [
            (
                entry.topic,
                entry.bronze,
                entry.silver_alone,
                entry.silver,
                entry.quarantine,
                entry.duplicates,
                entry.difference,
            )
            for entry in found
        ]
        names = ("topic", "bronze", "lost to bronze", "silver events", "quarantine", "duplicates", "difference")
        off = [f"{entry.topic}: {entry.difference:+d}" for entry in found if entry.difference]
        return dg.AssetCheckResult(
            passed=not off, description=", ".join(off) or None, metadata={"balance": per_date(rows, names)}
        )

    return balance


def _quarantine_check(settings: Settings) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=list(QUARANTINE_EVENTS.asset_key),
        name="quarantine_rate",
        description=(
            f"Refused records among those of the last {_QUARANTINE_WINDOW.total_seconds() / 3600:.0f} hours: a warning "
            "above QUARANTINE_WARN_RATE, an error above QUARANTINE_ERROR_RATE."
        ),
    )
    def quarantine_rate() -> dg.AssetCheckResult:
        with one_line_failures():
            found = quality.quarantine_rates(settings, _QUARANTINE_WINDOW)
        worst = max((entry.rate for entry in found), default=0.0)
        severity = dg.AssetCheckSeverity.ERROR if worst > settings.quarantine_error_rate else dg.AssetCheckSeverity.WARN
        rows = [(entry.topic, entry.taken, entry.refused, f"{entry.rate:.2%}") for entry in found]
        return dg.AssetCheckResult(
            passed=worst <= settings.quarantine_warn_rate,
            severity=severity,
            description=f"{worst:.2%} refused",
            metadata={"rates": per_date(rows, ("topic", "taken", "refused", "rate"))},
        )

    return quarantine_rate


def _offsets_check(settings: Settings) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=list(BRONZE_EVENTS.asset_key),
        name="offsets",
        description="Bronze against Kafka: how far behind; an error where bronze has read more than Kafka ever had.",
    )
    def offsets() -> dg.AssetCheckResult:
        with one_line_failures():
            batches = reading.ledger(settings)  # first: the stream goes on meanwhile
            reach = kafka.offsets(settings, [contract.topic for contract in settings.topics])
        rows, beyond = [], []
        for topic, partitions in reach.items():
            ends = reading.ends_of(batches, BRONZE_EVENTS.path, topic)
            for number, (earliest, latest) in partitions.items():
                end = ends.get(number, 0)
                rows.append((topic, number, earliest, latest, end, max(latest - end, 0)))
                if end > latest:
                    beyond.append(f"{topic}/{number} ends at {latest}, bronze at {end}")
        return dg.AssetCheckResult(
            passed=not beyond,
            description=f"the topic was made again, or lost records: {'; '.join(beyond)}" if beyond else None,
            metadata={
                "lag (records)": sum(row[5] for row in rows),
                "offsets": per_date(rows, ("topic", "partition", "earliest", "latest", "bronze", "behind")),
            },
        )

    return offsets


def _lost_offsets_check(settings: Settings) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=list(BRONZE_EVENTS.asset_key),
        name="lost_offsets",
        description=(
            "Records that left Kafka before a query had read them are an error, until somebody accepts their loss with "
            "`retail stream accept-loss`; those that were accepted are in the metadata."
        ),
    )
    def lost_offsets() -> dg.AssetCheckResult:
        with one_line_failures():
            batches = reading.ledger(settings)
            reach = kafka.offsets(settings, [contract.topic for contract in settings.topics])
            known, missing = losses.accepted(settings), losses.holes(settings, batches, reach)
        accepted = [
            (*dataclasses.astuple(entry.hole), entry.found_at, entry.accepted_by, entry.reason or "") for entry in known
        ]
        names = ("query", "topic", "partition", "first", "last")
        return dg.AssetCheckResult(
            passed=not missing,
            description=f"left Kafka unread: {'; '.join(map(str, missing))}" if missing else None,
            metadata={
                "missing": per_date([dataclasses.astuple(hole) for hole in missing], names),
                "accepted": per_date(accepted, (*names, "found at", "accepted by", "reason")),
            },
        )

    return lost_offsets
