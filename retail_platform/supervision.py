"""When to start, leave, end or give up a stream that is to be kept alive; pure, so that it can be tested as a table.

A supervisor asks :func:`decide` now and then with what the run history and the heartbeat say.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

#: The first relaunch after a failure waits this long, each further one twice as long.
FIRST_BACKOFF = dt.timedelta(seconds=15)
LONGEST_BACKOFF = dt.timedelta(minutes=10)
#: A run that lived for so long worked: what ended it is no failure to start, and those before it are forgotten.
WORKED = dt.timedelta(minutes=10)
#: Failures in a row after which a person has to look.
MOST_FAILURES = 5


@dataclass(frozen=True, slots=True)
class StreamRun:
    """A past or present run of the stream. Times are UTC; ``ended_at`` is ``None`` while it lives."""

    run_id: str
    state: Literal["alive", "succeeded", "failed", "cancelled"]
    started_at: dt.datetime
    ended_at: dt.datetime | None = None


@dataclass(frozen=True, slots=True)
class Launch:
    """Start a run; ``key`` is the same for the same situation, so that two askers start one run."""

    key: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing, for this reason."""

    reason: str


@dataclass(frozen=True, slots=True)
class End:
    """End this run: it is not working any more."""

    run_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Start no more; a person has to look."""

    reason: str


Decision = Launch | Wait | End | GiveUp


def decide(
    stream: str,
    runs: Sequence[StreamRun],
    heartbeat_age: dt.timedelta | None,
    stale_after: dt.timedelta,
    now: dt.datetime,
) -> Decision:
    """What to do about ``stream``, given its runs (newest first) and the age of a heartbeat that should be beating."""
    alive = next((run for run in runs if run.state == "alive"), None)
    if alive is not None:
        age = now - alive.started_at
        silent = age if heartbeat_age is None else min(heartbeat_age, age)
        if silent > stale_after:
            return End(alive.run_id, f"no heartbeat for {silent.total_seconds():.0f} s")
        return Wait(f"run {alive.run_id[:8]} is alive")
    failures = _failures_in_a_row(runs)
    if failures >= MOST_FAILURES:
        return GiveUp(
            f"{stream} failed {failures} times in a row; look at its last run, mend the cause, then launch it once by hand: "
            "the sensor takes over when that run succeeds or is cancelled"
        )
    if failures and runs[0].ended_at is not None:
        due = runs[0].ended_at + min(FIRST_BACKOFF * 2 ** (failures - 1), LONGEST_BACKOFF)
        if now < due:
            return Wait(f"failed {failures} times in a row; next try in {(due - now).total_seconds():.0f} s")
    return Launch(f"{stream}:{runs[0].run_id if runs else 'first'}")


def _failures_in_a_row(runs: Sequence[StreamRun]) -> int:
    count = 0
    for run in runs:
        if run.state != "failed":
            break
        count += 1
        if run.ended_at is not None and run.ended_at - run.started_at >= WORKED:
            break
    return count
