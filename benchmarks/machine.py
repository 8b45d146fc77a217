"""What a figure belongs to: the machine, how busy it was, the versions, the commit."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.progress import say
from retail_platform.embedded.jars import locked
from retail_platform.embedded.java import find_java
from retail_platform.settings import PROJECT_ROOT

_PACKAGES = ("pyspark", "deltalake", "pyarrow", "aiokafka", "duckdb", "dagster", "dbt-core", "dbt-duckdb")
_KIB_PER_GIB = 1024**2
_MOST_LOAD_A_CORE = 0.5
_MOST_QUIET_SECONDS = 300.0
_LOOK_SECONDS = 5.0


def machine() -> dict[str, Any]:
    """The machine: cpu (model), cores (this process may use), memory_gib, system."""
    return {
        "cpu": _field(Path("/proc/cpuinfo"), "model name") or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(int(_field(Path("/proc/meminfo"), "MemTotal").split()[0]) / _KIB_PER_GIB, 1),
        "system": platform.platform(terse=True),
    }


def versions() -> dict[str, str]:
    """Version by name: Python, Java, the packages, and of the jars the broker and the Delta connector."""
    jars = (jar.coordinate.split(":") for group in locked().values() for jar in group)
    by_artifact = {artifact: number for _, artifact, number in jars}
    return {
        "python": platform.python_version(),
        "java": _java_version(),
        **{name: version(name) for name in _PACKAGES},
        "kafka": _of(by_artifact, "kafka_2"),
        "delta": _of(by_artifact, "delta-spark_"),
    }


def load_average() -> float:
    """How many processes wanted a core in the last minute."""
    return round(os.getloadavg()[0], 2)


def await_quiet() -> None:
    """Wait until the machine has nothing else to do, five minutes at most: what ran before is heard for a while."""
    deadline = time.monotonic() + _MOST_QUIET_SECONDS
    cores = len(os.sched_getaffinity(0))
    if busy(load_average(), cores):
        say("waiting for the machine to be quiet …")
    while busy(load_average(), cores) and time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)


def busy(load: float, cores: int) -> bool:
    """Whether a machine with that load average has something else to do."""
    return load > _MOST_LOAD_A_CORE * cores


def git_commit() -> str:
    """The commit that was measured, with ``+changes`` when the measured code differs from it."""
    commit = _git("rev-parse", "--short", "HEAD")
    return f"{commit}+changes" if _git("status", "--porcelain", "--", "retail_platform", "dbt_project") else commit


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _field(file: Path, name: str) -> str:
    for line in file.read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""


def _java_version() -> str:
    done = subprocess.run([find_java(), "-version"], capture_output=True, text=True, check=True)
    return done.stderr.splitlines()[0].split('"')[1]


def _of(by_artifact: dict[str, str], prefix: str) -> str:
    return next(number for artifact, number in by_artifact.items() if artifact.startswith(prefix))
