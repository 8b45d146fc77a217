"""Progress where it cannot be drawn over: a file, a pipe, a CI's log."""

from __future__ import annotations

import time

from rich.console import Console

_SECONDS = 10.0


class Lines:
    """Says how far a long work is, at most every ten seconds, on a console that is no terminal; on one, nothing."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = self._told_at = time.monotonic()

    def __call__(self, line: str) -> None:
        """Say ``line``, after the seconds so far, if it is time."""
        now = time.monotonic()
        if self._console.is_terminal or now - self._told_at < _SECONDS:
            return
        self._told_at = now
        self._console.print(f"  {now - self._began:3.0f} s  {line}", markup=False, soft_wrap=True)
