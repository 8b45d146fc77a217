"""What carries a stream under Dagster, and keeps it alive: one run and one sensor a stream, all of the same kind."""

import datetime as dt
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg
from dagster._core.errors import DagsterPipesExecutionError

from retail_platform import kafka
from retail_platform.defs.common import JobSelection
from retail_platform.errors import RetailError
from retail_platform.lakehouse.heartbeat import STALE_AFTER_SECONDS, read_heartbeat
from retail_platform.settings import Settings, child_environment
from retail_platform.supervision import End, GiveUp, Launch, StreamRun, Wait, decide

_ALIVE = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
_LOOK_BACK_RUNS = 12


@dataclass(frozen=True, slots=True)
class Supervised:
    """A stream that one run is to carry at any time.

    ``stream``: its name, as its heartbeat has it; ``job``: the name of the job that carries it; ``run_config``: how. What
    ``in_the_way`` answers is a reason to wait; ``None`` when there is none.
    """

    stream: str
    job: str
    run_config: Mapping[str, Any]
    in_the_way: Callable[[], str | None] = lambda: None

    @property
    def sensor(self) -> str:
        """The name of its supervisor."""
        return f"{self.stream}_supervisor"


def supervisor(settings: Settings, supervised: Supervised, job: JobSelection) -> dg.SensorDefinition:
    """The sensor that keeps one run of ``job`` alive."""

    @dg.sensor(
        name=supervised.sensor,
        job=job,
        minimum_interval_seconds=10,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            f"Keeps one {supervised.stream} run alive: launches it when Kafka answers, backs off after failures, gives up "
            "loudly after five in a row, ends a run whose heartbeat is stale. Turned off, it starts nothing more."
        ),
    )
    def keep_alive(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason | dg.RunRequest:
        now = dt.datetime.now(dt.UTC)
        runs = stream_runs(context.instance, supervised.job, now)
        beat = read_heartbeat(settings, supervised.stream)
        age = now - beat.at if beat else None
        decision = decide(supervised.stream, runs, age, dt.timedelta(seconds=STALE_AFTER_SECONDS), now)
        match decision:
            case Wait(reason=reason):
                return dg.SkipReason(reason)
            case End(run_id=run_id, reason=reason):
                context.instance.run_coordinator.cancel_run(run_id)
                return dg.SkipReason(f"ending run {run_id[:8]}: {reason}")
            case GiveUp(reason=reason):
                raise RetailError(reason)
            case Launch(key=key):
                obstacle = supervised.in_the_way()
                if obstacle is not None:
                    return dg.SkipReason(obstacle)
                trouble = kafka.trouble(settings, timeout_seconds=5)
                if trouble is not None:
                    return dg.SkipReason(trouble)
                return dg.RunRequest(run_key=key, run_config=dict(supervised.run_config))

    return keep_alive


def carry(
    context: dg.AssetExecutionContext,
    pipes: dg.PipesSubprocessClient,
    settings: Settings,
    stream: str,
    command: Sequence[str],
) -> None:
    """Run a stream's process, ``python -m`` of ``command``, to its end; a failure is the one line of its heartbeat."""
    began = dt.datetime.now(dt.UTC)
    try:
        pipes.run(context=context, command=[sys.executable, "-m", *command], env=child_environment(settings))
    except DagsterPipesExecutionError:
        beat = read_heartbeat(settings, stream)
        cause = beat.error if beat and beat.error and beat.at >= began else "see the step's standard error"
        raise dg.Failure(description=f"the {stream} stream failed: {cause}") from None


def stream_runs(instance: dg.DagsterInstance, job: str, now: dt.datetime) -> list[StreamRun]:
    """The runs of a stream's job, newest first, as the supervision sees them; one that waits in a queue starts ``now``."""
    states = {dg.DagsterRunStatus.SUCCESS: "succeeded", dg.DagsterRunStatus.CANCELED: "cancelled"}
    found = []
    for record in instance.get_run_records(dg.RunsFilter(job_name=job), limit=_LOOK_BACK_RUNS):
        run = record.dagster_run
        state = "alive" if run.status in _ALIVE else states.get(run.status, "failed")
        began = dt.datetime.fromtimestamp(record.start_time, dt.UTC) if record.start_time else now
        ended = dt.datetime.fromtimestamp(record.end_time, dt.UTC) if record.end_time else record.update_timestamp
        found.append(StreamRun(run.run_id, state, began, None if state == "alive" else ended))  # type: ignore[arg-type]
    return found
