"""When the supervisor starts, leaves, ends and gives up a stream."""

from __future__ import annotations

import datetime as dt

from hypothesis import given
from hypothesis import strategies as st

from retail_platform.supervision import LONGEST_BACKOFF, MOST_FAILURES, End, GiveUp, Launch, StreamRun, Wait, decide

NOW = dt.datetime(2026, 3, 2, 12, tzinfo=dt.UTC)
STALE = dt.timedelta(seconds=120)
FRESH = dt.timedelta(seconds=2)


def run(
    name: str, state: str, ended_ago: float | None = None, started_ago: float = 3600, lived: float = 60
) -> StreamRun:
    """A run; ``started_ago`` is of one that is alive, ``lived`` of one that has ended."""
    ended = None if ended_ago is None else NOW - dt.timedelta(seconds=ended_ago)
    began = NOW - dt.timedelta(seconds=started_ago) if ended is None else ended - dt.timedelta(seconds=lived)
    return StreamRun(name, state, began, ended)  # type: ignore[arg-type]


def ask(*runs: StreamRun, beat: dt.timedelta | None = FRESH) -> object:
    return decide("ingest", runs, beat, STALE, NOW)


def test_the_first_run_is_launched() -> None:
    assert ask(beat=None) == Launch("ingest:first")


def test_a_run_that_is_alive_is_left_alone() -> None:
    assert isinstance(ask(run("a", "alive")), Wait)


def test_after_a_run_that_ended_well_the_next_one_starts_at_once_and_only_once() -> None:
    first = ask(run("a", "succeeded", 1))
    assert first == Launch("ingest:a")
    assert ask(run("a", "succeeded", 5)) == first


def test_a_cancelled_run_is_replaced() -> None:
    assert ask(run("a", "cancelled", 1)) == Launch("ingest:a")


def test_each_failure_in_a_row_doubles_the_wait() -> None:
    assert isinstance(ask(run("a", "failed", 14)), Wait)
    assert ask(run("a", "failed", 15)) == Launch("ingest:a")
    assert isinstance(ask(run("b", "failed", 29), run("a", "failed", 100)), Wait)
    assert ask(run("b", "failed", 30), run("a", "failed", 100)) == Launch("ingest:b")


def test_a_success_in_between_forgets_the_failures() -> None:
    assert ask(run("c", "failed", 15), run("b", "succeeded", 60), run("a", "failed", 90)) == Launch("ingest:c")


def test_after_five_failures_in_a_row_a_person_has_to_look() -> None:
    answer = ask(*(run(str(number), "failed", 9999) for number in range(MOST_FAILURES)))
    assert isinstance(answer, GiveUp)
    assert "failed 5 times in a row" in answer.reason


def test_a_run_that_worked_before_it_failed_is_followed_soon_whatever_failed_before_it() -> None:
    before = [run(str(number), "failed", 9999) for number in range(MOST_FAILURES)]
    assert isinstance(ask(run("worked", "failed", 14, lived=600), *before), Wait)
    assert ask(run("worked", "failed", 15, lived=600), *before) == Launch("ingest:worked")
    assert isinstance(ask(run("short", "failed", 15, lived=599), *before), GiveUp)


def test_a_run_without_a_heartbeat_is_ended() -> None:
    assert isinstance(ask(run("a", "alive"), beat=dt.timedelta(seconds=121)), End)
    assert isinstance(ask(run("a", "alive"), beat=None), End)


def test_an_old_heartbeat_does_not_end_a_run_that_has_just_begun() -> None:
    assert isinstance(ask(run("a", "alive", started_ago=5), beat=dt.timedelta(days=2)), Wait)


@given(st.lists(st.tuples(st.sampled_from(["succeeded", "failed", "cancelled"]), st.floats(0, 1e6)), max_size=8))
def test_a_stream_that_is_not_given_up_is_running_again_within_the_longest_backoff(
    ends: list[tuple[str, float]],
) -> None:
    runs = [run(str(number), state, ended) for number, (state, ended) in enumerate(ends)]
    later = NOW + LONGEST_BACKOFF
    answer = decide("ingest", runs, FRESH, STALE, later)
    assert isinstance(answer, Launch | GiveUp)
