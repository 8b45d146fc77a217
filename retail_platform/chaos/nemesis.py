"""One run: the load, the reader and the driver at work while the nemesis plays a schedule; then quiet, and the verdict."""

from __future__ import annotations

import datetime as dt
import json
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from retail_platform import kafka
from retail_platform.chaos.committed import caught_up, copy
from retail_platform.chaos.faults import Fault, KillAtPoint, KillDaily, KillReactions, KillService, to_json
from retail_platform.chaos.finding import Finding, Verdict
from retail_platform.chaos.load import running_load
from retail_platform.chaos.reader import running_reader
from retail_platform.chaos.services import CarriedStage
from retail_platform.chaos.stage import PATIENCE_SECONDS, Stage, opened
from retail_platform.chaos.verifier import verify
from retail_platform.contracts import BRONZE_EVENTS
from retail_platform.embedded.broker import EmbeddedBroker
from retail_platform.errors import RetailError
from retail_platform.lakehouse.reading import ends_of
from retail_platform.lakehouse.reading import ledger as batches
from retail_platform.reactions.applications import APPLICATIONS
from retail_platform.reactions.segments import published
from retail_platform.settings import Settings

#: Of customers' segments, as no nightly run computes them here: most customers of a run buy once or twice.
_CUTOFFS = {"recency": (1, 2, 3, 4), "frequency": (2, 3, 4, 5), "monetary": (10, 20, 50, 100)}
_LOOK_SECONDS = 0.2

Say = Callable[[str], None]


@dataclass
class Event:
    """A fault that happened: when (seconds since 1970), what came of it, how long until the next finished batch."""

    fault: Fault
    at: float
    outcome: str
    failed: bool = False
    recovered_seconds: float | None = None

    def record(self) -> dict[str, Any]:
        """The event as plain values."""
        moment = dt.datetime.fromtimestamp(self.at, dt.UTC).isoformat(timespec="milliseconds")
        said = {"at": moment, "outcome": self.outcome, "recovered_seconds": self.recovered_seconds}
        return to_json(self.fault) | said


@dataclass
class Run:
    """What a run came to."""

    seed: int
    rate: float
    seconds: float
    kills: int
    application_kills: int = 0
    events: list[Event] = field(default_factory=list)
    verdict: Verdict = field(default_factory=lambda: Verdict({}, ()))

    def record(self) -> dict[str, Any]:
        """The run as plain values: seed, counts by kind and point, recovery in seconds, findings."""
        recovery = sorted(event.recovered_seconds for event in self.events if event.recovered_seconds is not None)
        return {
            "seed": self.seed,
            "rate": self.rate,
            "seconds": round(self.seconds),
            "kills": self.kills,
            "application_kills": self.application_kills,
            "faults": dict(sorted(Counter(event.fault.kind for event in self.events).items())),
            "points": dict(
                sorted(Counter(e.fault.point for e in self.events if isinstance(e.fault, KillAtPoint)).items())
            ),
            "recovery_seconds": {
                "median": round(statistics.median(recovery), 1) if recovery else None,
                "worst": round(recovery[-1], 1) if recovery else None,
            },
            **self.verdict.record(),
        }


def play(
    settings: Settings, seed: int, rate: float, faults: list[Fault], say: Say, minutes: float | None = None
) -> Run:
    """Play ``faults`` on the home of ``settings`` under a load of ``rate`` events a second, then verify.

    After ``minutes`` no further fault is begun. A fault that cannot be made, or after which the driver does not work
    again, is a finding of its own.

    Raises:
        RetailError: Kafka does not start, or the load failed: the run proves nothing. Or the reactions were to be killed
            beside the daily job, or where Dagster runs it.
    """
    began = time.monotonic()
    carried = any(isinstance(fault, KillService) for fault in faults)
    daily = carried or any(isinstance(fault, KillDaily) for fault in faults)  # Dagster's sensors begin the days too
    reactions = APPLICATIONS if any(isinstance(fault, KillReactions) for fault in faults) else ()
    if reactions and daily:
        raise RetailError("--reactions: the daily job would publish other cut-offs; leave out --daily and --dagster")
    stage = (CarriedStage if carried else Stage)(settings, EmbeddedBroker(settings), reactions)
    if reactions:
        cutoffs = settings.marts_dir / published.FILE
        published.write(cutoffs, dt.datetime.now(dt.UTC).date(), _CUTOFFS)
    with opened(stage):
        with (
            running_reader(settings) as reader,
            _watched(stage) as commits,
            running_load(settings, seed, rate, reactions=bool(reactions)) as load,
        ):
            events: list[Event] = []
            for event in _play(stage, faults, say, minutes):
                events.append(event)
                _keep(settings, events)
            say("quiet: the load ends, the driver catches up")
            load.end()
            findings = [*_all_said(stage), *_catch_up(stage)]
        if daily:
            say("the daily job, whole")
            findings += _whole_day(stage)
        kills, application_kills = stage.kills, stage.application_kills
    _note_recovery(events, commits)
    _keep(settings, events)
    say("verifying")
    verdict = verify(settings)
    failed = [_finding(event) for event in events if event.failed]
    counts = verdict.counts | {"versions seen by the reader": sum(map(len, reader.versions.values()))}
    found = (*verdict.findings, *reader.findings, *findings, *failed)
    return Run(seed, rate, time.monotonic() - began, kills, application_kills, events, Verdict(counts, found))


def _play(stage: Stage, faults: list[Fault], say: Say, minutes: float | None) -> Iterator[Event]:
    deadline = None if minutes is None else time.monotonic() + minutes * 60
    for number, fault in enumerate(faults, start=1):
        if deadline is not None and time.monotonic() > deadline:
            say(f"{minutes:g} minutes are over")
            return
        yield _happen(stage, fault, number, len(faults), say)


def _happen(stage: Stage, fault: Fault, number: int, of: int, say: Say) -> Event:
    at = time.time()
    try:
        event = Event(fault, at, fault.happen(stage))
    except RetailError as error:
        stage.kill_driver()
        event = Event(fault, at, str(error), failed=True)
    if fault.kills:
        event.at = time.time()  # it was alive until then
    say(f"{number}/{of} {json.dumps(to_json(fault))}: {event.outcome}")
    return event


def _finding(event: Event) -> Finding:
    return Finding(f"the driver survives {event.fault.kind}", 1, f"{json.dumps(to_json(event.fault))}: {event.outcome}")


def _all_said(stage: Stage) -> list[Finding]:
    """Have the reactions say all that they have to say, and keep it for the verifier."""
    if not stage.reactions:
        return []
    try:
        for application in stage.reactions:
            stage.working_application(application.name)
            done = partial(caught_up, stage.settings, application)
            stage.wait(done, f"{application.name} does not catch up", PATIENCE_SECONDS * 2)
    except RetailError as error:
        return [Finding("the reactions catch up when they are left alone", 1, str(error))]
    finally:
        copy(stage.settings)
    return []


def _catch_up(stage: Stage) -> list[Finding]:
    """Have the driver take all that Kafka holds, then stop it."""
    try:
        stage.working_driver()
        stage.wait(lambda: _behind(stage.settings) == 0, "the driver does not catch up", PATIENCE_SECONDS * 2)
        stage.end_driver()
    except RetailError as error:
        return [Finding("the driver catches up when it is left alone", 1, str(error))]
    return []


def _whole_day(stage: Stage) -> list[Finding]:
    """Have the daily job make the warehouse and the KPI file of what the lake holds, for the verifier to look at."""
    code = stage.daily()
    told = f"exit code {code}; see {stage.settings.logs_dir}/daily.log"
    return [Finding("the daily job ends well when it is left alone", 1, told)] if code else []


def _behind(settings: Settings) -> int:
    """Records in Kafka that some query has not finished with."""
    reach = kafka.offsets(settings, [contract.topic for contract in settings.topics])
    finished = batches(settings)
    behind = 0
    for contract in settings.topics:
        for query in (BRONZE_EVENTS.path, contract.silver_table.path):
            ends = ends_of(finished, query, contract.topic)
            behind += sum(last - ends.get(number, first) for number, (first, last) in reach[contract.topic].items())
    return behind


@contextmanager
def _watched(stage: Stage) -> Iterator[list[float]]:
    """The moments (seconds since 1970) at which a batch was finished, noted as they come."""
    done, moments = threading.Event(), list[float]()

    def watch() -> None:
        before = stage.commits
        while not done.wait(_LOOK_SECONDS):
            now = stage.commits
            if now > before:
                moments.append(time.time())
            before = now

    watcher = threading.Thread(target=watch, name="watch", daemon=True)
    watcher.start()
    try:
        yield moments
    finally:
        done.set()
        watcher.join()


def _note_recovery(events: list[Event], commits: list[float]) -> None:
    for event in events:
        if isinstance(
            event.fault, KillReactions
        ):  # the driver goes on; how long the application took, its outcome says
            continue
        event.recovered_seconds = next((moment - event.at for moment in commits if moment > event.at), None)


def _keep(settings: Settings, events: list[Event]) -> None:
    """Keep every fault with its outcome beside the lake."""
    lines = [json.dumps(event.record()) + "\n" for event in events]
    (settings.retail_home / "faults.jsonl").write_text("".join(lines), encoding="utf-8")
