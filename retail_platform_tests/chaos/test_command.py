"""``retail chaos`` never works in a home that holds something, and its exit code tells what the verifier found."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from retail_platform.cli.app import app
from retail_platform.errors import RetailError


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
