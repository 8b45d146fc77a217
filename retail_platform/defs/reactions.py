"""The reactions under Dagster: their topics, the runs that carry the applications, the sensors that keep them alive."""

from collections.abc import Iterator

import dagster as dg

from retail_platform.defs.common import QUIET_CONSOLE, Materialized
from retail_platform.defs.sources import topic_key, topic_spec
from retail_platform.defs.supervisor import Supervised, carry, supervisor
from retail_platform.reactions.applications import APPLICATIONS, ReactionApplication
from retail_platform.settings import Settings


def build(settings: Settings) -> dg.Definitions:
    """The topics that the reactions write, and of each application its job and its supervisor."""
    parts = [_application(settings, which) for which in APPLICATIONS]
    return dg.Definitions.merge(*parts)


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
    sources = [topic_key(contract) for contract in settings.source_topics]
    written_by = f"Written by the application {which.name}, within a second of the event."
    kinds = {"kafka", "python"}

    @dg.multi_asset(name=which.name, specs=[topic_spec(topic, written_by, kinds, sources) for topic in which.writes])
    def topics(context: dg.AssetExecutionContext, pipes: dg.PipesSubprocessClient) -> Iterator[Materialized]:
        """Run the application until it is told to stop; its log is in the step's output."""
        carry(context, pipes, settings, which.name, ("retail_platform.reactions.wiring.job", which.name))
        for topic in which.writes:
            yield dg.MaterializeResult(asset_key=topic_key(topic))

    return topics
