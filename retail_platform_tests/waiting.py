"""Waiting for what a process that a test started is to bring about."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable


def until(process: subprocess.Popen[bytes], what: str, holds: Callable[[], bool], seconds: float) -> None:
    """Wait until it holds, ``seconds`` at most; the process must be alive meanwhile."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert process.poll() is None, f"the process ended before this: {what}"
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.1)
