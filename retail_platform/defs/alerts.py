"""The sensor that tells people: what Dagster knows of checks, runs, freshness and the stream, as observations of incidents.

What an incident is, who is told and in which words is in ``retail_platform.alerts``.
"""

import datetime as dt
import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import dagster as dg
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
from dagster._core.definitions.freshness import FreshnessState
from dagster._core.scheduler.instigation import InstigatorStatus
from pydantic import SecretStr, TypeAdapter, ValidationError

from retail_platform.alerts.channels import senders
from retail_platform.alerts.delivery import deliver
from retail_platform.alerts.incidents import (
    EVERYTHING,
    Days,
    Failing,
    Fault,
    Healthy,
    Observation,
    State,
    observe,
    only_configured,
)
from retail_platform.alerts.routing import Owner, Severity
from retail_platform.defs import reactions, stream
from retail_platform.defs.automation import RANGE_END, RANGE_START
from retail_platform.defs.common import is_by_checks, why_step_failed
from retail_platform.defs.stream import JOB as STREAM_JOB
from retail_platform.defs.supervisor import stream_runs
from retail_platform.errors import RetailError
from retail_platform.lakehouse.heartbeat import STALE_AFTER_SECONDS, read_heartbeat
from retail_platform.partitions import date_range
from retail_platform.reactions.applications import APPLICATIONS
from retail_platform.settings import Settings
from retail_platform.supervision import End, GiveUp, StreamRun, decide

_PARTITION = "dagster/partition"
#: The first tick of all tells of what failed within this time before it.
_FIRST_LOOK_BACK = dt.timedelta(hours=24)
#: A run's end is written by another process, with its own clock and its own delay: look this far behind the last tick.
_OVERLAP = dt.timedelta(minutes=2)
#: A stream that fell is said to be back when it has stayed up this long; a crash loop is one incident.
_STAYS_UP = dt.timedelta(minutes=5)
#: No run for this long, though the supervisor is on, is an incident.
_STAYS_AWAY = dt.timedelta(minutes=15)
# Dagster ends a tick at 60 s and its cursor is lost; one request may take 5 s.
_SENDING_SECONDS = 40.0
_MOST_LETTERS = 500
_MOST_NAMES = 3

_ASKED_OF_RUNS = [
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
    dg.DagsterRunStatus.SUCCESS,
    dg.DagsterRunStatus.FAILURE,
    dg.DagsterRunStatus.CANCELED,
]


@dataclass(frozen=True, slots=True)
class Reading:
    """How far the run history was read: since when, the cursor into each run that goes on, the runs that just ended."""

    since: dt.datetime
    running: dict[str, str | None] = field(default_factory=dict)
    ended: dict[str, dt.datetime] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Memory:
    """What one tick leaves to the next, in the sensor's cursor. It holds no secret: channels are in it by name."""

    reading: Reading
    state: State = field(default_factory=State)


_MEMORY = TypeAdapter(Memory)


def build(settings: Settings) -> dg.Definitions:
    """The alert sensor."""

    @dg.sensor(
        name="alerts",
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            "Tells of failed checks, failed runs, overdue assets and a stream that does not stay up: once an incident, and "
            "when it is over. To the log, and to the webhook, Slack and PagerDuty where they are set. What a channel did "
            "not accept is sent again at the next tick."
        ),
    )
    def alerts(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        began, now = time.monotonic(), dt.datetime.now(dt.UTC)
        memory = _remembered(context.cursor, now)
        graph = _graph(context)
        reading, from_runs = _runs(context.instance, memory.reading, now, graph)
        seen: list[Observation] = [
            *from_runs,
            *_freshness(context.instance, graph),
            *_stream(context, settings),
            *_gone(memory.state, graph, now),
        ]
        channels = senders(settings, context.log)
        configured = [sender.channel for sender in channels]
        state = only_configured(memory.state, configured)
        for observation in sorted(seen, key=lambda observation: observation.at):
            state = observe(state, _presentable(observation, settings), configured)
        state, problems = deliver(
            state,
            channels,
            now,
            settings.alert_most_per_minute,
            in_time=lambda: time.monotonic() - began < _SENDING_SECONDS,
        )
        for problem in problems:
            context.log.error("not delivered, will be sent again: %s", problem)
        cursor = _MEMORY.dump_json(Memory(reading, state)).decode()
        return dg.SensorResult(skip_reason=_summary(state, problems), cursor=cursor)

    return dg.Definitions(sensors=[alerts])


def _remembered(cursor: str | None, now: dt.datetime) -> Memory:
    if not cursor:
        return Memory(Reading(since=now - _FIRST_LOOK_BACK))
    try:
        return _MEMORY.validate_json(cursor)
    except ValidationError:
        raise RetailError("the cursor of the sensor alerts cannot be read; reset it on the sensor's page") from None


def _graph(context: dg.SensorEvaluationContext) -> AssetGraph:
    if context.repository_def is None:
        raise RetailError("the sensor alerts needs the code location that it belongs to")
    return context.repository_def.asset_graph


def _summary(state: State, problems: Sequence[str]) -> str:
    said = f"{len(state.incidents)} open incidents, {len(state.outbox)} messages wait"
    return f"{said}: {'; '.join(problems)}" if problems else said


def _presentable(observation: Observation, settings: Settings) -> Observation:
    """With a summary of one bounded line in which no secret of the settings stands."""
    words = " ".join(observation.summary.split())
    for value in _secrets(settings):
        words = words.replace(value, "**********")
    return replace(observation, summary=words[:_MOST_LETTERS])


def _secrets(settings: Settings) -> list[str]:
    """The secrets of the settings, in the clear."""
    values = (getattr(settings, name) for name in type(settings).model_fields)
    return [value.get_secret_value() for value in values if isinstance(value, SecretStr) and value.get_secret_value()]


# --- Runs and their checks -------------------------------------------------------------------------------------------


def _runs(
    instance: dg.DagsterInstance, reading: Reading, now: dt.datetime, graph: AssetGraph
) -> tuple[Reading, list[Observation]]:
    """What runs and the checks in them said since the last tick, and how far that was read.

    Checks are read run by run: a check says nothing outside a run, and a run's events have a strict order.
    """
    seen: list[Observation] = []
    running: dict[str, str | None] = {}
    ended = {run_id: at for run_id, at in reading.ended.items() if at > now - 2 * _OVERLAP}
    for record in _to_read(instance, reading):
        run = record.dagster_run
        checks, cursor = _checks(instance, run, reading.running.get(run.run_id), graph)
        seen += checks
        if not run.is_finished:
            running[run.run_id] = cursor
            continue
        at = dt.datetime.fromtimestamp(record.end_time, dt.UTC) if record.end_time else record.update_timestamp
        ended[run.run_id] = at
        seen += _end(instance, run, at)
    return Reading(now, running, ended), seen


def _to_read(instance: dg.DagsterInstance, reading: Reading) -> Iterable[dg.RunRecord]:
    """The runs that were going on at the last tick, and those that started or ended since."""
    since = reading.since - _OVERLAP
    changed = instance.get_run_records(dg.RunsFilter(updated_after=since, statuses=_ASKED_OF_RUNS))
    known = instance.get_run_records(dg.RunsFilter(run_ids=list(reading.running))) if reading.running else []
    found = {record.dagster_run.run_id: record for record in (*changed, *known)}
    for run_id, record in found.items():
        # A tag that is added later changes a run too; that is not its end.
        old = record.end_time is not None and record.end_time <= since.timestamp()
        if run_id in reading.running or not (old or run_id in reading.ended):
            yield record


def _checks(
    instance: dg.DagsterInstance, run: dg.DagsterRun, cursor: str | None, graph: AssetGraph
) -> tuple[list[Observation], str | None]:
    found: list[Observation] = []
    more = True
    while more:
        page = instance.get_records_for_run(run.run_id, cursor, dg.DagsterEventType.ASSET_CHECK_EVALUATION, limit=200)
        found += [_check(record.event_log_entry, run, graph) for record in page.records]
        cursor, more = page.cursor, page.has_more
    return found, cursor


def _check(entry: dg.EventLogEntry, run: dg.DagsterRun, graph: AssetGraph) -> Observation:
    event = entry.get_dagster_event()
    said = event.asset_check_evaluation_data
    asset = said.asset_key.to_user_string()
    subject = _check_subject(dg.AssetCheckKey(said.asset_key, said.check_name))
    fault = Fault.quarantine if said.check_name == "quarantine_rate" else Fault.check
    at = dt.datetime.fromtimestamp(entry.timestamp, dt.UTC)
    days = _days({**run.tags, _PARTITION: said.partition} if said.partition else run.tags)
    words = said.description or ("the check passed" if said.passed else "the check failed")
    if said.passed:
        return Healthy(fault, subject, at, words, days)
    severity = Severity.warning
    if said.severity is dg.AssetCheckSeverity.ERROR:
        severity = Severity.critical if said.blocking else Severity.error
    page = f"/assets/{asset}?view=checks"
    return Failing(fault, subject, at, severity, owner_of(graph, said.asset_key), words, page, days)


def _check_subject(key: dg.AssetCheckKey) -> str:
    return f"{key.name} on {key.asset_key.to_user_string()}"


def _end(instance: dg.DagsterInstance, run: dg.DagsterRun, at: dt.datetime) -> Iterator[Observation]:
    """What the end of a run says. The stream's runs have their own observation; a cancelled run says nothing."""
    if run.job_name == STREAM_JOB:
        return
    subject = _work(run)
    if run.status is dg.DagsterRunStatus.SUCCESS:
        yield Healthy(Fault.run, subject, at, "a later run of it succeeded", _days(run.tags))
    elif run.status is dg.DagsterRunStatus.FAILURE:
        why = _why(instance, run)
        if why is not None:
            page = f"/runs/{run.run_id}"
            yield Failing(Fault.run, subject, at, Severity.error, Owner.data_platform, why, page, _days(run.tags))


def _work(run: dg.DagsterRun) -> str:
    """What a run does, the same for a retry: its job, and the assets where the job is made for what was picked."""
    if not run.job_name.startswith("__"):
        return run.job_name
    assets = sorted(key.to_user_string() for key in run.asset_selection or ())
    checks = sorted(_check_subject(key) for key in run.asset_check_selection or ())
    return f"materialization of {_short([*assets, *checks])}"


def _short(names: Sequence[str]) -> str:
    """The names, or the first of many with what tells them from others."""
    if len(names) <= _MOST_NAMES:
        return ", ".join(names)
    digest = hashlib.sha256("|".join(names).encode()).hexdigest()[:8]
    return f"{', '.join(names[:_MOST_NAMES])} and {len(names) - _MOST_NAMES} more ({digest})"


def _why(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str | None:
    """Why a run failed, in a line; ``None`` when checks failed it and nothing else: they are told themselves."""
    kinds = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE}
    events = [
        record.event_log_entry.get_dagster_event()
        for record in instance.get_records_for_run(run.run_id, of_type=kinds).records
    ]
    steps = [event for event in events if event.is_step_failure]
    causes = [event for event in steps if not is_by_checks(event)]
    if steps and not causes:
        return None
    said = [why_step_failed(event) for event in causes] or [event.message or "" for event in events]
    more = f" (and {len(said) - 1} more)" if len(said) > 1 else ""
    return f"{said[0]}{more}" if said else "the run ended without a word"


def _days(tags: Mapping[str, str]) -> Days:
    """The business dates that a run was for, by its tags."""
    try:
        if _PARTITION in tags:
            return frozenset({dt.date.fromisoformat(tags[_PARTITION])})
        if RANGE_START in tags and RANGE_END in tags:
            first, last = (dt.date.fromisoformat(tags[name]) for name in (RANGE_START, RANGE_END))
            return frozenset(date_range(first, last))
    except ValueError:
        return EVERYTHING  # a partition that is no date
    return EVERYTHING


def owner_of(graph: AssetGraph, key: dg.AssetKey) -> Owner:
    """The team of an asset; the platform's, which must not miss anything, for one that has no known team."""
    teams = {f"team:{owner}": owner for owner in Owner}
    named = graph.get(key).owners if graph.has(key) else []
    return next((teams[name] for name in named if name in teams), Owner.data_platform)


def _gone(state: State, graph: AssetGraph, now: dt.datetime) -> Iterator[Observation]:
    """The end of incidents whose check or freshness policy is not in the graph any more: nothing else could end them."""
    checks = {_check_subject(key) for key in graph.asset_check_keys}
    fresh = {node.key.to_user_string() for node in graph.asset_nodes if node.freshness_policy is not None}
    left = {Fault.check: checks, Fault.quarantine: checks, Fault.freshness: fresh}
    for incident in state.incidents:
        if incident.fault in left and incident.subject not in left[incident.fault]:
            yield Healthy(incident.fault, incident.subject, now, "it is not part of the platform any more")


# --- Freshness and the stream ----------------------------------------------------------------------------------------


def _freshness(instance: dg.DagsterInstance, graph: AssetGraph) -> Iterator[Observation]:
    """What Dagster's freshness daemon last said of each asset that has a policy."""
    keys = [node.key for node in graph.asset_nodes if node.freshness_policy is not None]
    severities = {FreshnessState.FAIL: Severity.critical, FreshnessState.WARN: Severity.warning}
    for key, record in instance.get_freshness_state_records(keys).items():
        asset = key.to_user_string()
        severity = severities.get(record.freshness_state)
        if severity is not None:
            words = "it was not materialized within the time that its freshness policy allows"
            page = f"/assets/{asset}?view=overview"
            yield Failing(Fault.freshness, asset, record.updated_at, severity, owner_of(graph, key), words, page)
        elif record.freshness_state is FreshnessState.PASS:
            yield Healthy(Fault.freshness, asset, record.updated_at, "it was materialized")


def _stream(context: dg.SensorEvaluationContext, settings: Settings) -> Iterator[Observation]:
    now = dt.datetime.now(dt.UTC)
    switched_on = {InstigatorStatus.RUNNING, InstigatorStatus.DECLARED_IN_CODE}
    known = context.instance.all_instigator_state(instigator_statuses=switched_on)
    sensors = {entry.instigator_name for entry in known}
    for one in (stream.supervised(settings), *map(reactions.supervised, APPLICATIONS)):
        beat = read_heartbeat(settings, one.stream)
        runs = stream_runs(context.instance, one.job, now)
        age = now - beat.at if beat else None
        yield from stream_observations(one.stream, runs, age, now, supervised=one.sensor in sensors)


def stream_observations(
    stream_name: str,
    runs: Sequence[StreamRun],
    heartbeat_age: dt.timedelta | None,
    now: dt.datetime,
    *,
    supervised: bool,
) -> Iterator[Observation]:
    """What a stream's runs (newest first) and its heartbeat say of it.

    The first fall warns, giving up is critical. A stream that is ``supervised`` and yet not there is an error; one that
    somebody stopped with its supervisor is nobody's incident.
    """
    if not runs:
        return
    last = runs[0]
    page = f"/runs/{last.run_id}"
    match decide(stream_name, runs, heartbeat_age, dt.timedelta(seconds=STALE_AFTER_SECONDS), now):
        case GiveUp(reason=reason):
            severity = Severity.critical
        case End(reason=reason):
            severity = Severity.warning
        case _ if last.state == "failed":
            severity, reason = Severity.warning, "a run of the stream failed; the supervisor starts another"
        case _ if supervised and last.ended_at is not None and now - last.ended_at >= _STAYS_AWAY:
            severity, reason = Severity.error, "its supervisor is on and yet starts no run; does Kafka answer?"
        case _:
            up = last.state == "alive" and now - last.started_at >= _STAYS_UP
            if up or last.state == "succeeded":
                yield Healthy(Fault.stream, stream_name, now, "the stream is up" if up else "its last run ended well")
            return
    yield Failing(Fault.stream, stream_name, last.ended_at or now, severity, Owner.data_platform, reason, page)
