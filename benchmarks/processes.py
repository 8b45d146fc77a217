"""What processes cost, from ``/proc``: CPU seconds and resident memory, of one process or of a whole tree."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_LOOK_SECONDS = 0.2
_YOUNG_SECONDS = 0.5
# Longer than the ingest takes to end itself.
_INTERRUPTED_SECONDS = 100.0
_TERMINATED_SECONDS, _KILLED_SECONDS = 30.0, 10.0


class Stat(NamedTuple):
    """One line of ``/proc/PID/stat``; ``started`` tells a process from a later one of the same id."""

    pid: int
    parent: int
    started: int
    cpu_seconds: float
    rss_bytes: int
    zombie: bool


def stat(pid: int) -> Stat | None:
    """The process as it is now; ``None`` when there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name stands in parentheses and may hold anything.
    fields = text.rpartition(")")[2].split()
    cpu = (int(fields[11]) + int(fields[12])) / _TICKS
    return Stat(pid, int(fields[1]), int(fields[19]), cpu, int(fields[21]) * _PAGE, fields[0] == "Z")


def cpu_seconds(pids: Iterable[int]) -> float:
    """CPU seconds, user and system, that the live processes ``pids`` have used so far."""
    return sum(found.cpu_seconds for pid in pids if (found := stat(pid)))


@dataclass
class Tree:
    """A process and all that descend from it, also those whose parent has ended since they were first seen."""

    root: int
    peak_bytes: int = 0
    peak_parts: dict[str, int] = field(default_factory=dict)
    _known: dict[int, int] = field(default_factory=dict)

    def look(self) -> list[Stat]:
        """The live members; notes the highest sum of resident memory seen, and what it was made of by program.

        Members of the last moment are not in the sum: until it becomes another program, a fork has its parent's memory, once.
        """
        everyone = {found.pid: found for found in map(stat, _pids()) if found and not found.zombie}
        members = [found for pid, found in everyone.items() if self._belongs(pid, everyone)]
        self._known = {found.pid: found.started for found in members}
        lasting = [found for found in members if found.started < _now() - _YOUNG_SECONDS * _TICKS]
        total = sum(found.rss_bytes for found in lasting)
        if total > self.peak_bytes:
            self.peak_bytes, self.peak_parts = total, _by_program(lasting)
        return members

    def _belongs(self, pid: int, everyone: dict[int, Stat]) -> bool:
        while (found := everyone.get(pid)) is not None:
            if pid == self.root or self._known.get(pid) == found.started:
                return True
            pid = found.parent
        return False


def _now() -> float:
    """Since the machine's start, in the ticks of ``Stat.started``."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) * _TICKS


@contextlib.contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[Tree]:
    """The process's tree; at the end nothing of it is left running."""
    tree = Tree(process.pid)
    try:
        yield tree
    finally:
        _end(process, tree)


@contextlib.contextmanager
def watched(process: subprocess.Popen[bytes]) -> Iterator[Tree]:
    """:func:`ended`, looked at five times a second (which costs some hundredths of a core)."""
    done = threading.Event()
    with ended(process) as tree:

        def look() -> None:
            while not done.wait(_LOOK_SECONDS):
                tree.look()

        watcher = threading.Thread(target=look, daemon=True)
        watcher.start()
        try:
            yield tree
        finally:
            done.set()
            watcher.join()


def _end(process: subprocess.Popen[bytes], tree: Tree) -> None:
    """Interrupt the process, which is to end what it has started; then terminate, then kill, whoever is left."""
    tree.look()
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_INTERRUPTED_SECONDS)
    for number, seconds in ((signal.SIGTERM, _TERMINATED_SECONDS), (signal.SIGKILL, _KILLED_SECONDS)):
        for member in tree.look():
            with contextlib.suppress(ProcessLookupError):
                os.kill(member.pid, number)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and tree.look():
            process.poll()
            time.sleep(_LOOK_SECONDS)
    process.wait()


def _pids() -> Iterator[int]:
    return (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


def _by_program(members: Iterable[Stat]) -> dict[str, int]:
    parts: dict[str, int] = {}
    for member in members:
        name = _program(member.pid)
        parts[name] = parts.get(name, 0) + member.rss_bytes
    return dict(sorted(parts.items(), key=lambda part: -part[1]))


def _program(pid: int) -> str:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return "ended"
    if b"kafka.Kafka" in command:
        return "Kafka"
    if b"org.apache.spark.deploy.SparkSubmit" in command:
        return "Spark"
    return Path(os.fsdecode(command[0])).name.rstrip("0123456789.") or "other"
