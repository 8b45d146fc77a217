"""Giving way to what people wait for: the ingest on a machine that it shares with the reactions and Dagster."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

# Where the kernel shares the CPU between sessions first (sched_autogroup_enabled, as on most desktops and servers), a
# process's niceness counts only within its session; the session has one of its own, in this file (man 7 sched).
_AUTOGROUP = Path("/proc/self/autogroup")


def give_way(niceness: int) -> None:
    """Make this process, and what it starts, so much nicer; its session too, where that is its own."""
    os.nice(niceness)
    if os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError):  # no such file, or not allowed here: then niceness is all there is
            _AUTOGROUP.write_text(str(niceness))
