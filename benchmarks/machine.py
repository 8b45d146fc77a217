"""What a figure belongs to: the machine, how busy it was, the versions, the commit."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

from retail_platform.embedded.jars import locked
from retail_platform.embedded.java import find_java
from retail_platform.settings import PROJECT_ROOT

_PACKAGES = ("pyspark", "deltalake", "pyarrow", "aiokafka", "duckdb", "dagster", "dbt-core", "dbt-duckdb")
_KIB_PER_GIB = 1024**2


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
