"""The ingest stream under Dagster: the run that carries it, the sensor that keeps it alive, the one that reports it."""

import datetime as dt
import enum
import json
from collections.abc import Iterator
from typing import Any

import dagster as dg

from retail_platform.contracts import BRONZE_EVENTS, INGEST_BATCHES, QUARANTINE_EVENTS, SALES_BY_MINUTE, TRANSACTIONS
from retail_platform.contracts.model import Table
from retail_platform.defs.common import QUIET_CONSOLE, Materialized, table_spec
from retail_platform.defs.sources import topic_key
from retail_platform.defs.supervisor import Supervised, carry, supervisor
from retail_platform.errors import RetailError
from retail_platform.lakehouse.heartbeat import INGEST, read_heartbeat
from retail_platform.lakehouse.lease import holder
from retail_platform.lakehouse.reading import BatchEntry, ledger
from retail_platform.settings import Settings

JOB = "ingest_stream"
_STREAM = INGEST
_KINDS = {"spark", "kafka", "deltalake"}
# Longer than the job itself takes before it ends itself: whoever cancels waits for the batch, not the other way round.
_TERMINATION_SECONDS = 100


class Mode(enum.Enum):
    """``available_now`` drains Kafka and ends; ``continuous`` stays until it is cancelled or INGEST_LIFETIME_HOURS old."""

    available_now = "available_now"
    continuous = "continuous"


class IngestConfig(dg.Config):
    """How the stream runs."""

    mode: Mode = Mode.available_now


def build(settings: Settings) -> dg.Definitions:
    """The stream's tables, its job and its sensors."""
    ingest = _ingest(settings)
    job = dg.define_asset_job(
        JOB,
        selection=dg.AssetSelection.assets(*ingest.keys).without_checks(),
        description="Runs the ingest stream. The supervisor sensor keeps one run of it alive; by hand it drains and ends.",
        tags={"retail/stream": _STREAM},
    )
    return dg.Definitions(
        assets=[ingest],
        jobs=[job],
        sensors=[supervisor(settings, supervised(settings), job), _heartbeat(settings)],
        resources={"pipes": dg.PipesSubprocessClient(termination_timeout_seconds=_TERMINATION_SECONDS)},
    )


def supervised(settings: Settings) -> Supervised:
    """The ingest stream, as its supervisor sees it."""
    run_config = {**QUIET_CONSOLE, "ops": {_STREAM: {"config": {"mode": "continuous"}}}}
    return Supervised(_STREAM, JOB, run_config, lambda: _lake_is_taken(settings))


def _ingest(settings: Settings) -> dg.AssetsDefinition:
    topics = [topic_key(contract) for contract in settings.topics]
    tables = (BRONZE_EVENTS, QUARANTINE_EVENTS, INGEST_BATCHES)

    @dg.multi_asset(name=_STREAM, specs=[table_spec(table, topics, _KINDS) for table in tables])
    def ingest(
        context: dg.AssetExecutionContext, config: IngestConfig, pipes: dg.PipesSubprocessClient
    ) -> Iterator[Materialized]:
        """Run the streaming job; its log is in the step's output."""
        began = dt.datetime.now(dt.UTC)
        if settings.emr_serverless_application is None:
            carry(context, pipes, settings, _STREAM, ("retail_platform.ingest.job", "--mode", config.mode.value))
        else:
            from retail_platform.defs.emr import carry_on_emr

            carry_on_emr(context, settings, config.mode.value)
        yield from _materializations(tables, ledger(settings, since=began))

    return ingest


def _materializations(tables: tuple[Table, ...], batches: list[BatchEntry]) -> Iterator[Materialized]:
    bronze = [batch for batch in batches if batch.query_name == BRONZE_EVENTS.path]
    rows = {
        BRONZE_EVENTS: sum(batch.rows_in for batch in bronze),
        QUARANTINE_EVENTS: sum(batch.refused for batch in batches),
        INGEST_BATCHES: len(batches),
    }
    for table in tables:
        yield dg.MaterializeResult(
            asset_key=list(table.asset_key),
            metadata={"dagster/row_count": rows[table], "rows_added": rows[table], "batches": len(batches)},
        )


def _lake_is_taken(settings: Settings) -> str | None:
    other = holder(settings)
    return f"the lake is being written by {other}" if other is not None else None


def _heartbeat(settings: Settings) -> dg.SensorDefinition:
    @dg.sensor(
        name="ingest_heartbeat",
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            "Turns the batches that the stream has committed into materializations of the business dates they touched, "
            "and into observations of lag and latency, so that lineage and freshness tell the truth."
        ),
    )
    def ingest_heartbeat(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        since = dt.datetime.fromisoformat(context.cursor) if context.cursor else None
        try:
            batches = ledger(settings, since)
        except RetailError as error:
            return dg.SkipReason(str(error))
        if not batches:
            return dg.SkipReason("no batch since the last look")
        return dg.SensorResult(
            asset_events=[*_touched(settings, batches), _lag(settings, batches)],
            cursor=batches[-1].committed_at.isoformat(),
        )

    return ingest_heartbeat


def _touched(settings: Settings, batches: list[BatchEntry]) -> Iterator[dg.AssetMaterialization]:
    for contract in settings.topics:
        mine = [batch for batch in batches if batch.query_name == contract.silver_table.path]
        tables = [contract.silver_table]
        if contract.silver_name == TRANSACTIONS.silver_name:
            tables.append(SALES_BY_MINUTE)
        for date in sorted({date for batch in mine for date in batch.business_dates}):
            here = [batch for batch in mine if date in batch.business_dates]
            metadata: dict[str, Any] = {
                "reported by": "the stream",
                "batches": len(here),
                "last commit": dg.MetadataValue.timestamp(here[-1].committed_at),
            }
            for table in tables:
                yield dg.AssetMaterialization(list(table.asset_key), partition=date.isoformat(), metadata=metadata)


def _lag(settings: Settings, batches: list[BatchEntry]) -> dg.AssetObservation:
    beat = read_heartbeat(settings)
    queries = (
        {query.name: {"lag": query.lag, "rows/s": query.rows_per_second} for query in beat.queries} if beat else {}
    )
    slowest = max((batch.committed_at - batch.started_at).total_seconds() for batch in batches)
    return dg.AssetObservation(
        list(BRONZE_EVENTS.asset_key),
        metadata={
            "lag (records)": beat.lag if beat else 0,
            "slowest batch (s)": slowest,
            "records": sum(batch.rows_in for batch in batches if batch.query_name == BRONZE_EVENTS.path),
            "queries": dg.MetadataValue.json(json.loads(json.dumps(queries))),
        },
    )
