"""What runs when: the daily job, the reload of days that changed late, the hourly look at the lake and its nightly care."""

import datetime as dt
import hashlib
import zoneinfo
from collections.abc import Mapping

import dagster as dg

from retail_platform.contracts import BRONZE_EVENTS, INGEST_BATCHES, QUARANTINE_EVENTS, SALES_BY_MINUTE
from retail_platform.contracts.model import Table
from retail_platform.defs.common import JobSelection, newest_materializations
from retail_platform.defs.kpi import KPI_KEY
from retail_platform.defs.lakehouse import MAINTENANCE_JOB
from retail_platform.defs.warehouse import LOADED_FROM, raw_key
from retail_platform.errors import RetailError
from retail_platform.lakehouse.lease import ever_held
from retail_platform.lakehouse.reading import fingerprints
from retail_platform.partitions import ranges
from retail_platform.settings import Settings
from retail_platform.warehouse.loading import tables_to_load
from retail_platform.warehouse.sql import by_partition

DAILY_JOB = "daily_kpis"
LAKE_CHECKS_JOB = "lake_checks"
#: Tags by which a run covers a range of partitions; Dagster's own single-run backfills use the same.
RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
#: A run costs half a minute, a day without sales nothing: days this near to each other are reloaded as one range.
_CLOSED_DAYS = 7
_LAKE = (BRONZE_EVENTS, QUARANTINE_EVENTS, INGEST_BATCHES)


def build(settings: Settings) -> dg.Definitions:
    """Jobs, schedules, and the late-arrivals sensor."""
    silver = [*(contract.silver_table for contract in settings.topics), SALES_BY_MINUTE]
    daily = dg.define_asset_job(
        DAILY_JOB,
        selection=dg.AssetSelection.groups("raw", "seeds", "staging", "intermediate", "marts", "kpi")
        | dg.AssetSelection.checks(*(_check(table, "unique_key") for table in silver)),
        description="A day, or a range of days, from silver to the KPI file: load, dbt, tie-out, CSV, published marts.",
    )
    whole = dg.AssetSelection.checks_for_assets(*(dg.AssetKey(list(table.asset_key)) for table in _LAKE))
    lake_checks = dg.define_asset_job(
        LAKE_CHECKS_JOB,
        selection=whole | dg.AssetSelection.checks(*(_check(table, "contract") for table in silver)),
        description="The checks on the lake as a whole: contracts, balance, quarantine rate, offsets against Kafka.",
    )
    return dg.Definitions(
        jobs=[daily, lake_checks],
        schedules=[
            _yesterday(settings, daily),
            _today(settings, daily),
            _once_a_stream_has_run(
                settings,
                "lake_checks_hourly",
                lake_checks.name,
                "10 * * * *",
                "Every hour: the checks on the lake as a whole.",
            ),
            _once_a_stream_has_run(
                settings,
                "lake_maintenance_nightly",
                MAINTENANCE_JOB,
                "0 3 * * *",
                "At three: compacts the lake's small files and deletes what is older than its history.",
            ),
        ],
        sensors=[_late_arrivals(settings, daily)],
    )


def _check(table: Table, name: str) -> dg.AssetCheckKey:
    return dg.AssetCheckKey(dg.AssetKey(list(table.asset_key)), name)


def _yesterday(settings: Settings, job: JobSelection) -> dg.ScheduleDefinition:
    @dg.schedule(
        name="daily_kpis_yesterday",
        job=job,
        cron_schedule="30 1 * * *",
        execution_timezone=settings.business_timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="At half past one: the day that has just ended.",
    )
    def yesterday(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        date = _local_date(settings, context) - dt.timedelta(days=1)
        return dg.RunRequest(run_key=f"yesterday:{date}", partition_key=date.isoformat())

    return yesterday


def _today(settings: Settings, job: JobSelection) -> dg.ScheduleDefinition:
    @dg.schedule(
        name="daily_kpis_today",
        job=job,
        cron_schedule="*/30 * * * *",
        execution_timezone=settings.business_timezone,
        description="Every half hour: today so far. Off until somebody wants it.",
    )
    def today(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        return dg.RunRequest(partition_key=_local_date(settings, context).isoformat())

    return today


def _once_a_stream_has_run(
    settings: Settings, name: str, job: str, cron: str, description: str
) -> dg.ScheduleDefinition:
    """A schedule of the business timezone that leaves a lake alone that nobody has written yet."""

    @dg.schedule(
        name=name,
        job_name=job,
        cron_schedule=cron,
        execution_timezone=settings.business_timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=description,
    )
    def due() -> dg.RunRequest | dg.SkipReason:
        if not ever_held(settings):
            return dg.SkipReason("no stream has ever run")
        return dg.RunRequest()

    return due


def _late_arrivals(settings: Settings, job: JobSelection) -> dg.SensorDefinition:
    tables = [table for table in tables_to_load(settings) if by_partition(table)]

    @dg.sensor(
        name="late_arrivals",
        job=job,
        minimum_interval_seconds=120,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            "Reloads each closed business date of which a table's files are not those that were last loaded, however old it "
            "is: by comparison, not by looking back some days."
        ),
    )
    def late_arrivals(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        today = dt.datetime.now(zoneinfo.ZoneInfo(settings.business_timezone)).date()
        try:
            moved = _moved(context.instance, {table: fingerprints(settings, table) for table in tables}, today)
        except RetailError as error:
            return dg.SkipReason(str(error))
        if not moved:
            return dg.SkipReason("every closed day is loaded as it is")
        requests = []
        for first, last in ranges(moved, most_between=_CLOSED_DAYS):
            state = ",".join(files for date, files in moved.items() if first <= date <= last)
            requests.append(
                dg.RunRequest(
                    # Each state of the files is tried once: a day whose checks fail waits for a person, not for a tick.
                    run_key=f"late:{first}:{last}:{hashlib.sha256(state.encode()).hexdigest()[:16]}",
                    tags={
                        RANGE_START: first.isoformat(),
                        RANGE_END: last.isoformat(),
                        "retail/reason": "late arrivals",
                    },
                )
            )
        return dg.SensorResult(run_requests=requests)

    return late_arrivals


def _moved(
    instance: dg.DagsterInstance, now: Mapping[Table, Mapping[dt.date, str]], today: dt.date
) -> dict[dt.date, str]:
    """The closed dates, in order, of which a table is not as it was when the KPIs were last made, with its files ``now``."""
    closed = sorted({date for of_table in now.values() for date in of_table if date < today})
    kpis = newest_materializations(instance, KPI_KEY, closed)
    moved: dict[dt.date, list[str]] = {}
    for table, of_table in now.items():
        loads = newest_materializations(instance, raw_key(table), closed)
        for date, files in of_table.items():
            if date < today and files != _loaded_from(loads.get(date), kpis.get(date), date):
                moved.setdefault(date, []).append(files)
    return {date: ",".join(moved[date]) for date in sorted(moved)}


def _loaded_from(load: dg.EventLogRecord | None, kpi: dg.EventLogRecord | None, date: dt.date) -> str | None:
    """The fingerprint of what a load read; ``None`` when there is none, or it never came to KPIs."""
    if load is None or kpi is None or kpi.storage_id < load.storage_id or load.asset_materialization is None:
        return None
    known = load.asset_materialization.metadata.get(LOADED_FROM)
    return known.value.get(date.isoformat()) if known is not None and isinstance(known.value, dict) else None


def _local_date(settings: Settings, context: dg.ScheduleEvaluationContext) -> dt.date:
    return context.scheduled_execution_time.astimezone(zoneinfo.ZoneInfo(settings.business_timezone)).date()
