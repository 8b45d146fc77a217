"""``retail chaos`` never works in a home that holds something, and its exit code tells what the verifier found."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from retail_platform.chaos.faults import FullDisk, KillReactions
from retail_platform.chaos.stage import Stage
from retail_platform.cli.app import app
from retail_platform.embedded.broker import EmbeddedBroker
from retail_platform.errors import RetailError
from retail_platform.settings import Settings


@pytest.mark.parametrize("command", ["run", "controls"])
def test_a_home_that_is_not_empty_is_refused(tmp_path: Path, command: str) -> None:
    (tmp_path / "lake").mkdir()
    done = CliRunner().invoke(app, ["chaos", command, "--home", str(tmp_path)])
    assert isinstance(done.exception, RetailError)
    assert "is not empty" in str(done.exception)
    assert [path.name for path in tmp_path.iterdir()] == ["lake"]


def test_a_schedule_that_cannot_be_read_is_refused_before_anything_starts(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app, ["chaos", "run", "--schedule", str(tmp_path / "none.json"), "--home", str(tmp_path / "h")]
    )
    assert isinstance(done.exception, RetailError)
    assert "is not a schedule" in str(done.exception)
    assert not (tmp_path / "h").exists()


def test_a_disk_that_is_not_a_small_one_of_its_own_is_refused_before_anything_is_filled(tmp_path: Path) -> None:
    disk, home = tmp_path / "disk", tmp_path / "home"
    disk.mkdir()
    done = CliRunner().invoke(app, ["chaos", "run", "--small-disk", str(disk), "--home", str(home)])
    assert isinstance(done.exception, RetailError)
    assert "not a disk of its own" in str(done.exception)
    assert "mount -t tmpfs" in str(done.exception)
    assert not any(disk.iterdir())


def test_a_schedule_fills_no_disk_but_a_small_one(settings: Settings) -> None:
    stage = Stage(settings, EmbeddedBroker(settings))
    with pytest.raises(RetailError, match="--small-disk"):
        FullDisk().happen(stage)
    assert stage.driver is None


@pytest.mark.parametrize("other", ["--daily", "--dagster"])
def test_the_reactions_are_not_killed_where_the_daily_job_publishes_other_cut_offs(tmp_path: Path, other: str) -> None:
    done = CliRunner().invoke(app, ["chaos", "run", "--reactions", other, "--home", str(tmp_path / "home")])
    assert isinstance(done.exception, RetailError)
    assert "leave out --daily and --dagster" in str(done.exception)
    assert not (tmp_path / "home" / "kafka").exists()


def test_an_application_of_the_reactions_is_killed_only_where_they_run(settings: Settings) -> None:
    stage = Stage(settings, EmbeddedBroker(settings))
    with pytest.raises(RetailError, match="--reactions"):
        KillReactions("metrics", 0.0).happen(stage)
    assert stage.applications == {}
