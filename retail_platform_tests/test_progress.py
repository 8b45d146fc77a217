"""Long work that nobody watches on a terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from retail_platform.cli import progress


@pytest.mark.parametrize(("terminal", "expected"), [(False, ["   10 s  b", "   25 s  d"]), (True, [])])
def test_in_a_file_it_says_a_line_every_ten_seconds_and_on_a_terminal_none(
    terminal: bool, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter([0.0, 9.0, 10.0, 19.0, 25.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(times))
    written = io.StringIO()
    lines = progress.Lines(Console(file=written, force_terminal=terminal))
    for line in "abcd":
        lines(line)
    assert written.getvalue().splitlines() == expected
