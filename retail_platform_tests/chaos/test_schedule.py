"""A schedule is a seed: the same one gives the same faults, and all named points have their turn."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from retail_platform.chaos import report, schedule
from retail_platform.chaos.faults import KINDS, KillAtPoint, KillReactions, from_json, to_json
from retail_platform.chaos.points import POINTS
from retail_platform.errors import RetailError
from retail_platform.reactions.applications import APPLICATIONS


def test_the_same_seed_gives_the_same_schedule_and_another_seed_another() -> None:
    assert schedule.schedule(7, 40) == schedule.schedule(7, 40)
    assert schedule.schedule(7, 40) != schedule.schedule(8, 40)


def test_every_named_point_and_every_kind_has_its_turn() -> None:
    faults = schedule.schedule(3, 48)
    assert {fault.point for fault in faults if isinstance(fault, KillAtPoint)} == set(POINTS)
    others = [*schedule.damages(), *schedule.full_disks(2), *schedule.daily_kills(), *schedule.service_kills(3)]
    assert {fault.kind for fault in [*schedule.with_reaction_kills(faults, 3), *others]} == set(KINDS)


def test_with_the_reactions_a_seed_keeps_its_faults_and_each_application_dies_in_turn() -> None:
    faults = schedule.schedule(7, 12)
    both = schedule.with_reaction_kills(faults, 7)
    assert both == schedule.with_reaction_kills(faults, 7)
    assert [fault for fault in both if not isinstance(fault, KillReactions)] == faults
    kills = [fault for fault in both if isinstance(fault, KillReactions)]
    assert Counter(kill.application for kill in kills) == {application.name: 4 for application in APPLICATIONS}
    assert sum(kill.again is not None for kill in kills) == 6


def test_a_schedule_that_was_written_down_is_played_again(tmp_path: Path) -> None:
    faults = [*schedule.with_reaction_kills(schedule.schedule(7, 20), 7), *schedule.damages()]
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
    reacting = run | {"seed": 9, "kills": 1, "application_kills": 20}
    assert "reactions" not in report.page({"runs": [run], "controls": []})
    for record in (run, lost, reacting):
        report.add(tmp_path / "results.json", "runs", record)
    outcome = {"name": "duplicates let through", "found": "every promise was kept", "right": False}
    report.add(tmp_path / "results.json", "controls", {**run, "outcomes": [outcome]})
    page = report.page(report.read(tmp_path / "results.json"))
    assert "**31 driver kills in 2 runs under load without a finding.**" in page
    assert "fewer than 9.7%" in page
    assert "applications of the reactions were killed 20 times in 1 of these runs" in page
    assert "- nothing is lost: 2 times, e.g. `t/1`" in page
    assert "| duplicates let through | every promise was kept | **wrong** |" in page
    assert report.read(tmp_path / "results.json")["runs"] == [run, lost, reacting]
