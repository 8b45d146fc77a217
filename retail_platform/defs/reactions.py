"""The reactions under Dagster: their topics, the run that carries the application, the sensor that keeps it alive."""

import sys
from collections.abc import Iterator

import dagster as dg
from dagster._core.errors import DagsterPipesExecutionError

from retail_platform.contracts.model import TopicContract
from retail_platform.defs.common import QUIET_CONSOLE, Materialized
from retail_platform.defs.sources import topic_key, topic_spec
from retail_platform.defs.supervisor import Supervised, supervisor
from retail_platform.lakehouse.heartbeat import REACTIONS, read_heartbeat
from retail_platform.settings import Settings, child_environment

JOB = "reactions_stream"


def build(settings: Settings) -> dg.Definitions:
    """The topics that the reactions write, their job and its supervisor."""
    written = _reactions(settings)
    job = dg.define_asset_job(
        JOB,
        selection=dg.AssetSelection.assets(*written.keys).without_checks(),
        description=(
            "Runs the reactions: fraud alerts, live metrics, stock and reorders within a second of an event. The supervisor "
            "sensor keeps one run alive; it ends when it is cancelled."
        ),
        tags={"retail/stream": REACTIONS},
    )
    return dg.Definitions(assets=[written], jobs=[job], sensors=[supervisor(settings, supervised(), job)])


def supervised() -> Supervised:
    """The reactions, as their supervisor sees them."""
    return Supervised(REACTIONS, JOB, QUIET_CONSOLE)


def _reactions(settings: Settings) -> dg.AssetsDefinition:
    sources = [topic_key(contract) for contract in settings.topics]

    @dg.multi_asset(name=REACTIONS, specs=[_topic(contract, sources) for contract in settings.written_topics])
    def reactions(context: dg.AssetExecutionContext, pipes: dg.PipesSubprocessClient) -> Iterator[Materialized]:
        """Run the application until it is told to stop; its log is in the step's output."""
        try:
            pipes.run(
                context=context,
                command=[sys.executable, "-m", "retail_platform.reactions.wiring.job"],
                env=child_environment(settings),
            )
        except DagsterPipesExecutionError:
            beat = read_heartbeat(settings, REACTIONS)
            cause = beat.error if beat and beat.error else "see the step's standard error"
            raise dg.Failure(description=f"the reactions failed: {cause}") from None
        for contract in settings.written_topics:
            yield dg.MaterializeResult(asset_key=topic_key(contract))

    return reactions


def _topic(contract: TopicContract, sources: list[dg.AssetKey]) -> dg.AssetSpec:
    return topic_spec(contract, "Written by the reactions, within a second of the event.", {"kafka", "python"}, sources)
