"""The reactions under Dagster: their topics, the runs that carry the applications, the sensors that keep them alive."""

import datetime as dt
from collections.abc import Iterator

import dagster as dg

from retail_platform.contracts import CUSTOMER_REFRESHES, FRAUD_LABELS, PRICE_ROLLBACKS
from retail_platform.defs.common import QUIET_CONSOLE, JobSelection, Materialized, one_line_failures
from retail_platform.defs.kpi import PUBLISHED_KEY
from retail_platform.defs.sources import topic_key, topic_spec
from retail_platform.defs.supervisor import Supervised, carry, supervisor
from retail_platform.reactions.applications import APPLICATIONS, ReactionApplication
from retail_platform.settings import Settings

MIDNIGHT_JOB = "customer_midnight"


def build(settings: Settings) -> dg.Definitions:
    """The topics that the reactions write, of each application its job and its supervisor; and the customers' midnights."""
    parts = [_application(settings, which) for which in APPLICATIONS]
    told = [
        topic_spec(PRICE_ROLLBACKS, "Written by `retail reactions rollback`.", {"kafka"}),
        topic_spec(FRAUD_LABELS, "Written by `retail fraud label`, or by what the fraud desk works with.", {"kafka"}),
    ]
    return dg.Definitions.merge(*parts, refreshes(settings), dg.Definitions(assets=told))


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
    sources = [topic_key(contract) for contract in (*settings.source_topics, *which.hears)]
    written_by = f"Written by the application {which.name}, within a second of the event."
    kinds = {"kafka", "python"}

    @dg.multi_asset(name=which.name, specs=[topic_spec(topic, written_by, kinds, sources) for topic in which.writes])
    def topics(context: dg.AssetExecutionContext, pipes: dg.PipesSubprocessClient) -> Iterator[Materialized]:
        """Run the application until it is told to stop; its log is in the step's output."""
        carry(context, pipes, settings, which.name, ("retail_platform.reactions.wiring.job", which.name))
        for topic in which.writes:
            yield dg.MaterializeResult(asset_key=topic_key(topic))

    return topics


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
    return dg.Definitions(assets=[customer_refreshes], jobs=[job], sensors=[_after_publishing(job)])


def _after_publishing(job: JobSelection) -> dg.SensorDefinition:
    @dg.asset_sensor(
        asset_key=PUBLISHED_KEY,
        name="customer_midnight_after_publishing",
        job=job,
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="When the marts were published: decides every customer's segment again. A run apart: KPIs need no Kafka.",
    )
    def after_publishing(_context: dg.SensorEvaluationContext, event: dg.EventLogEntry) -> dg.RunRequest:
        return dg.RunRequest(run_key=f"published:{event.run_id}")

    return after_publishing
