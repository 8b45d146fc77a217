"""The result file: for each benchmark its last result, and what the figures belong to."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.machine import git_commit, load_average, machine, versions

RESULTS = Path(__file__).parent / "results.json"

Result = dict[str, Any]
"""``measured_at`` (UTC), ``commit``, ``load_before``, ``machine``, ``versions``, ``parameters``, ``figures``."""


def measured(measure: Callable[[], dict[str, Any]]) -> Result:
    """Measure, and say when, on what machine, how busy it was before, with which versions of what."""
    before = {
        "measured_at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "commit": git_commit(),
        "load_before": load_average(),
        "machine": machine(),
        "versions": versions(),
    }
    return before | measure()


def read(file: Path = RESULTS) -> dict[str, Result]:
    """The results by benchmark; none when nothing was measured yet."""
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def record(name: str, result: Result, file: Path = RESULTS) -> None:
    """Enter the result, in place of the benchmark's last one; the others stay."""
    results = dict(sorted({**read(file), name: result}.items()))
    draft = file.with_suffix(".draft")
    draft.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    draft.replace(file)
