"""A schedule is a seed: the same one gives the same faults, and all named points have their turn."""

from __future__ import annotations

from pathlib import Path

import pytest

from retail_platform.chaos import report, schedule
from retail_platform.chaos.faults import KINDS, KillAtPoint, from_json, to_json
from retail_platform.chaos.points import POINTS
from retail_platform.errors import RetailError


def test_the_same_seed_gives_the_same_schedule_and_another_seed_another() -> None:
    assert schedule.schedule(7, 40) == schedule.schedule(7, 40)
    assert schedule.schedule(7, 40) != schedule.schedule(8, 40)


def test_every_named_point_and_every_kind_has_its_turn() -> None:
    faults = schedule.schedule(3, 48)
    assert {fault.point for fault in faults if isinstance(fault, KillAtPoint)} == set(POINTS)
    others = [*schedule.damages(), *schedule.full_disks(2), *schedule.daily_kills(), *schedule.service_kills(3)]
    assert {fault.kind for fault in [*faults, *others]} == set(KINDS)


def test_a_schedule_that_was_written_down_is_played_again(tmp_path: Path) -> None:
    faults = [*schedule.schedule(7, 20), *schedule.damages()]
    schedule.write(tmp_path / "schedule.json", 7, 250.0, faults)
    assert schedule.read(tmp_path / "schedule.json") == (7, 250.0, faults)


def test_what_is_not_a_fault_is_refused_by_name() -> None:
    with pytest.raises(RetailError, match="earthquake"):
        from_json({"kind": "earthquake"})
    with pytest.raises(RetailError, match="not a schedule"):
        schedule.read(Path(__file__))
    pause = to_json(from_json({"kind": "pause", "seconds": 3.0}))
    assert pause == {"kind": "pause", "seconds": 3.0}


def test_the_page_of_results_is_that_of_the_committed_results() -> None:
    assert report.PAGE.read_text(encoding="utf-8") == report.page(report.read()), "run `retail chaos report`"


def test_a_run_with_a_finding_proves_nothing_and_its_finding_is_on_the_page(tmp_path: Path) -> None:
    run = {
        "measured_at": "2026-01-01T00:00:00+00:00",
        "commit": "abc",
        "machine": "2 cores",
        "versions": {"python": "3.11"},
        "seed": 7,
        "rate": 50.0,
        "seconds": 60,
        "kills": 30,
        "faults": {"kill_at_point": 30},
        "points": {POINTS[0]: 30},
        "recovery_seconds": {"median": 20.0, "worst": 30.0},
        "counts": {"acknowledged": 1000},
        "findings": [],
    }
    lost = run | {"seed": 8, "findings": [{"promise": "nothing is lost", "count": 2, "example": "t/1"}]}
    for record in (run, lost):
        report.add(tmp_path / "results.json", "runs", record)
    outcome = {"name": "duplicates let through", "found": "every promise was kept", "right": False}
    report.add(tmp_path / "results.json", "controls", {**run, "outcomes": [outcome]})
    page = report.page(report.read(tmp_path / "results.json"))
    assert "**30 driver kills in 1 runs under load without a finding.**" in page
    assert "fewer than 10.0%" in page
    assert "- nothing is lost: 2 times, e.g. `t/1`" in page
    assert "| duplicates let through | every promise was kept | **wrong** |" in page
    assert report.read(tmp_path / "results.json")["runs"] == [run, lost]
