"""The reactions under Dagster: their topics, the runs that carry the applications, the sensors that keep them alive."""

import datetime as dt
import json
import zoneinfo
from collections.abc import Iterator
from typing import Any

import dagster as dg

from retail_platform.contracts import CUSTOMER_REFRESHES, FRAUD_LABELS, LIVE_METRICS, PRICE_ROLLBACKS, REORDER_RELEASES
from retail_platform.defs.common import QUIET_CONSOLE, JobSelection, Materialized, one_line_failures, per_date
from retail_platform.defs.kpi import KPI_KEY, PUBLISHED_KEY
from retail_platform.defs.sources import topic_key, topic_spec
from retail_platform.defs.supervisor import Supervised, carry, supervisor
from retail_platform.errors import RetailError
from retail_platform.partitions import business_date
from retail_platform.reactions.applications import APPLICATIONS, ReactionApplication, consumer_group, shop_topics
from retail_platform.reactions.progress import Offsets, Reach, ends, has_read, lag
from retail_platform.settings import Settings

MIDNIGHT_JOB = "customer_midnight"
CLOSED_DAYS_JOB = "live_metrics_check"
#: As long as Kafka keeps what the figures are made of: of days before, an application begun anew knows a part.
_COMPARED_DAYS = 7
# They answer within a second: minutes behind, something is wrong, be it that the machine is too small.
_BEHIND_AFTER, _STALE_AFTER = dt.timedelta(minutes=5), dt.timedelta(minutes=15)


def build(settings: Settings) -> dg.Definitions:
    """The topics that the reactions write, of each application its job and its supervisor; and the customers' midnights."""
    parts = [_application(settings, which) for which in APPLICATIONS]
    told = [
        topic_spec(PRICE_ROLLBACKS, "Written by `retail reactions rollback`.", {"kafka"}),
        topic_spec(REORDER_RELEASES, "Written by `retail reactions release`.", {"kafka"}),
        topic_spec(FRAUD_LABELS, "Written by `retail fraud label`, or by what the fraud desk works with.", {"kafka"}),
    ]
    others = dg.Definitions(assets=told, sensors=[progress(settings)])
    return dg.Definitions.merge(*parts, refreshes(settings), closed_days(settings), others)


def supervised(which: ReactionApplication) -> Supervised:
    """An application, as its supervisor sees it."""
    return Supervised(which.name, _job_name(which), QUIET_CONSOLE)


def _job_name(which: ReactionApplication) -> str:
    return f"{which.name}_stream"


def _application(settings: Settings, which: ReactionApplication) -> dg.Definitions:
    written = _topics(settings, which)
    job = dg.define_asset_job(
        _job_name(which),
        selection=dg.AssetSelection.assets(*written.keys).without_checks(),
        description=f"Runs {which.does}. The supervisor sensor keeps one run alive; it ends when it is cancelled.",
        tags={"retail/stream": which.name},
    )
    return dg.Definitions(assets=[written], jobs=[job], sensors=[supervisor(settings, supervised(which), job)])


def _topics(settings: Settings, which: ReactionApplication) -> dg.AssetsDefinition:
    sources = [topic_key(contract) for contract in (*shop_topics(settings, which), *which.hears)]
    written_by = f"Written by the application {which.name}, within a second of the event."
    kinds = {"kafka", "python"}

    fresh = dg.FreshnessPolicy.time_window(warn_window=_BEHIND_AFTER, fail_window=_STALE_AFTER)
    specs = [topic_spec(topic, written_by, kinds, sources, fresh) for topic in which.writes]

    @dg.multi_asset(name=which.name, specs=specs)
    def topics(context: dg.AssetExecutionContext, pipes: dg.PipesSubprocessClient) -> Iterator[Materialized]:
        """Run the application until it is told to stop; its log is in the step's output."""
        carry(context, pipes, settings, which.name, ("retail_platform.reactions.wiring.job", which.name))
        for topic in which.writes:
            yield dg.MaterializeResult(asset_key=topic_key(topic))

    return topics


def progress(settings: Settings) -> dg.SensorDefinition:
    """The sensor that says how far each application has come: what the freshness policies of its topics look at."""

    @dg.sensor(
        name="reactions_progress",
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            "By each application's offsets in Kafka: its topics are materialized when it has answered all that the shops had "
            "sent when this sensor last looked, and observed with their lag when it has not. So they are fresh also when "
            "nothing happens, and stale when events wait."
        ),
    )
    def reactions_progress(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        from retail_platform import kafka

        before = json.loads(context.cursor) if context.cursor else {}
        now = dt.datetime.now(dt.UTC)
        try:
            reach = kafka.offsets(settings, [contract.topic for contract in settings.source_topics])
            read = {
                which: {contract.topic: reach[contract.topic] for contract in shop_topics(settings, which)}
                for which in APPLICATIONS
            }
            done = {
                which: kafka.committed(settings, consumer_group(settings, which), topics)
                for which, topics in read.items()
            }
        except RetailError as error:
            return dg.SkipReason(str(error))
        # JSON makes names of the numbers.
        seen = {
            topic: {int(number): last for number, last in at.items()} for topic, at in before.get("ends", {}).items()
        }
        return dg.SensorResult(
            asset_events=[
                event
                for which in APPLICATIONS
                for event in _progress(which, read[which], done[which], seen, before.get("at"))
            ],
            cursor=json.dumps({"at": now.isoformat(), "ends": ends(reach)}),
        )

    return reactions_progress


def _progress(
    which: ReactionApplication, reach: Reach, done: Offsets, seen: Offsets, at: str | None
) -> Iterator[dg.AssetMaterialization | dg.AssetObservation]:
    if not any(done.values()):
        return  # it has never run
    metadata: dict[str, Any] = {"reported by": "the offsets in Kafka", "lag (records)": lag(reach, done)}
    kind: type[dg.AssetMaterialization | dg.AssetObservation] = dg.AssetObservation
    if at is not None and has_read(reach, done, seen):
        kind = dg.AssetMaterialization
        metadata["answers all until"] = dg.MetadataValue.timestamp(dt.datetime.fromisoformat(at))
    for topic in which.writes:
        yield kind(list(topic_key(topic).path), metadata=metadata)


def refreshes(settings: Settings) -> dg.Definitions:
    """The topic of the customers' midnights, the job that sends them, and the sensor that launches it."""
    # The marts of one day decide the segments of the next, which are loaded with that day: drawn, it would be a circle.
    written_by = "Sent by the cut-offs of the published marts, for the day after them."
    spec = topic_spec(CUSTOMER_REFRESHES, written_by, {"kafka", "python"})

    @dg.multi_asset(name="customer_refreshes", specs=[spec])
    def customer_refreshes() -> Materialized:
        """Send every customer the midnight that the published cut-offs are for; none while that day has not begun."""
        from retail_platform import kafka
        from retail_platform.producer.customer_refreshes import messages, midnight
        from retail_platform.producer.send import send

        with one_line_failures():
            moment = midnight(settings)
            begun = moment is not None and moment <= dt.datetime.now(dt.UTC)
            if moment is None or not begun:
                return dg.MaterializeResult(metadata={"customers": 0, "as of": str(moment and moment.date())})
            kafka.ensure_topics(settings)
            report = send(settings, messages(settings, moment))
        if report.failed:
            raise dg.Failure(f"Kafka refused {report.failed} refreshes ({report.refused[0]}); launch the job again")
        return dg.MaterializeResult(
            metadata={
                "customers": report.acknowledged,
                "as of": str(moment.date()),
                "seconds": round(report.seconds, 3),
            }
        )

    job = dg.define_asset_job(
        MIDNIGHT_JOB,
        selection=dg.AssetSelection.assets(spec.key),
        description="Tells every customer's segment that a day has passed and the cut-offs are new.",
    )
    sensor = _after(
        PUBLISHED_KEY,
        job,
        "customer_midnight_after_publishing",
        "When the marts were published: decides every customer's segment again.",
    )
    return dg.Definitions(assets=[customer_refreshes], jobs=[job], sensors=[sensor])


def closed_days(settings: Settings) -> dg.Definitions:
    """The check of the live metrics against the KPI file, its job, and the sensor that launches it."""

    @dg.asset_check(
        asset=topic_key(LIVE_METRICS),
        name="closed_days_equal_the_kpi_file",
        description=(
            f"Of the last {_COMPARED_DAYS} days that are over, orders and revenue to the cent: the cell of the day, and the "
            "cells of its minutes together, equal the KPI file. Days that only one of them has are not compared. A warning: "
            "the application is behind or began in the middle of the day, or the day has changed since it was built."
        ),
    )
    def closed_days_equal_the_kpi_file() -> dg.AssetCheckResult:
        from retail_platform import kafka
        from retail_platform.reactions.metrics.closed_days import Figures, differences, live_days
        from retail_platform.warehouse.kpi_file import read_daily

        with one_line_failures():
            today = business_date(dt.datetime.now(dt.UTC), settings)
            first = today - dt.timedelta(days=_COMPARED_DAYS)
            rows = {row.date: row for row in read_daily(settings.kpi_csv) if first <= row.date < today}
            live = {}
            if rows:
                kafka.ensure_topics(settings)
                begins = dt.datetime.combine(first, dt.time(), zoneinfo.ZoneInfo(settings.business_timezone))
                live = live_days(settings, begins)
        compared = [(date, rows[date], live[date]) for date in sorted(rows.keys() & live.keys())]
        found = differences(live, {date: Figures(row.orders, row.revenue_usd) for date, row in rows.items()})
        shown = [
            (date, row.orders, its.day.orders, its.minutes.orders, row.revenue_usd, its.day.revenue_usd)
            for date, row, its in compared
        ]
        names = ("date", "orders", "orders live", "of its minutes", "revenue_usd", "revenue_usd live")
        return dg.AssetCheckResult(
            passed=not found,
            severity=dg.AssetCheckSeverity.WARN,
            description="; ".join(found) or f"{len(compared)} of {len(rows)} days compared",
            metadata={"days": per_date(shown, names), "not in the live metrics": len(rows) - len(compared)},
        )

    job = dg.define_asset_job(
        CLOSED_DAYS_JOB,
        selection=dg.AssetSelection.checks(closed_days_equal_the_kpi_file),
        description="Compares the live metrics of the last days that are over with the KPI file: stream against batch.",
    )
    sensor = _after(
        KPI_KEY,
        job,
        "live_metrics_check_after_the_kpi_file",
        "When the KPI file has a day: compares what was said live with it.",
    )
    return dg.Definitions(asset_checks=[closed_days_equal_the_kpi_file], jobs=[job], sensors=[sensor])


def _after(key: dg.AssetKey, job: JobSelection, name: str, description: str) -> dg.SensorDefinition:
    @dg.asset_sensor(
        asset_key=key,
        name=name,
        job=job,
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"{description} A run apart: KPIs need no Kafka.",
    )
    def after(_context: dg.SensorEvaluationContext, event: dg.EventLogEntry) -> dg.RunRequest:
        return dg.RunRequest(run_key=f"published:{event.run_id}")

    return after
