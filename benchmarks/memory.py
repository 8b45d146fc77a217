"""The most memory that a command takes, with everything it starts: Kafka, Spark, Dagster, dbt."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.homes import environment, temporary_home
from benchmarks.processes import watched
from benchmarks.progress import say
from retail_platform.errors import RetailError
from retail_platform.settings import PROJECT_ROOT, load_settings

_GIB = 1024**3
DEFAULT = ("retail", "demo")


def measure(command: Sequence[str] = DEFAULT) -> dict[str, Any]:
    """Run ``command`` (a program of this environment, with its arguments) in an empty home; its output is shown.

    Figures: peak_gib, the highest sum of the resident memory of all its processes (what they share counts for each);
    parts_gib, what that was made of; seconds.

    Raises:
        RetailError: the command failed, or would not start a broker of its own.
    """
    if not load_settings().embedded_kafka:
        raise RetailError(
            "KAFKA_BOOTSTRAP_SERVERS is set; unset it, the embedded broker's memory is part of the figure"
        )
    with temporary_home() as settings:
        env = environment(settings) | {
            "KAFKA_BOOTSTRAP_SERVERS": "",
            "KAFKA_EMBEDDED_PORT": str(settings.kafka_embedded_port),
        }
        say(f"running {' '.join(command)} …")
        program = Path(sys.executable).with_name(command[0])
        began = time.monotonic()
        process = subprocess.Popen([program, *command[1:]], cwd=PROJECT_ROOT, env=env, start_new_session=True)
        with watched(process) as tree:
            code = process.wait()
            seconds = time.monotonic() - began
    if code:
        raise RetailError(f"`{' '.join(command)}` ended with exit code {code}")
    return {
        "parameters": {"command": " ".join(command)},
        "figures": {
            "peak_gib": round(tree.peak_bytes / _GIB, 2),
            "parts_gib": {name: round(size / _GIB, 2) for name, size in tree.peak_parts.items()},
            "seconds": round(seconds, 1),
        },
    }
