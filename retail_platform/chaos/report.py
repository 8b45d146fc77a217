"""The results of chaos runs: a JSON file, and the page that is written from it."""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

from retail_platform.chaos.faults import KillBroker
from retail_platform.chaos.points import POINTS
from retail_platform.settings import PROJECT_ROOT

RESULTS = PROJECT_ROOT / "docs" / "chaos-results.json"
PAGE = PROJECT_ROOT / "docs" / "chaos.md"

Results = dict[str, list[dict[str, Any]]]

_PACKAGES = ("pyspark", "deltalake", "delta-spark", "aiokafka", "duckdb")
_ABOUT = (
    "Written by `retail chaos report` from `docs/chaos-results.json`. What the runs do, and how to repeat one from its "
    "seed, is in [guarantees.md](guarantees.md)."
)
#: With no failure in n trials the rate of failures is, at 95 %, below this many nths.
_RULE_OF_THREE = 3


def described(record: dict[str, Any]) -> dict[str, Any]:
    """A record with when, on what machine, at which commit and with which versions it was made."""
    return {
        "measured_at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "machine": f"{len(os.sched_getaffinity(0))} cores, {platform.platform(terse=True)}",
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
        **record,
    }


def read(path: Path = RESULTS) -> Results:
    """The results file: ``runs`` and ``controls``, oldest first; empty where there is no file."""
    if not path.exists():
        return {"runs": [], "controls": []}
    results: Results = json.loads(path.read_text(encoding="utf-8"))
    return results


def add(path: Path, kind: str, record: dict[str, Any]) -> None:
    """Add a record to the ``runs`` or the ``controls`` of a results file."""
    results = read(path)
    results[kind].append(record)
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    draft.replace(path)


def page(results: Results) -> str:
    """The results as a page: what the kills prove, each run, each named point, and the last negative controls."""
    runs = results["runs"]
    good = [run for run in runs if not run["findings"]]
    kills = sum(run["kills"] for run in good)
    by_point = {point: sum(run["points"].get(point, 0) for run in runs) for point in POINTS}
    return "\n".join(
        [
            "# What chaos has shown",
            "",
            _ABOUT,
            "",
            _proof(kills, len(good), sum(run["faults"].get(KillBroker.kind, 0) for run in good)),
            "",
            *_of_reactions([run["application_kills"] for run in good if run.get("application_kills")]),
            "| when | seed | events/s | kills | faults | acknowledged | recovery median, worst (s) | findings |",
            "|---|---|---|---|---|---|---|---|",
            *(_row(run) for run in runs),
            "",
            *(line for run in runs for line in _findings(run)),
            "## Named points",
            "",
            "| point | drivers that died there |",
            "|---|---|",
            *(f"| {point} | {count} |" for point, count in by_point.items()),
            "",
            *_controls(results["controls"]),
            *_surroundings(runs),
        ]
    )


def _proof(kills: int, runs: int, of_broker: int) -> str:
    if not kills:
        return "No run without a finding yet."
    bound = _RULE_OF_THREE / kills
    return (
        f"**{kills} driver kills in {runs} runs under load without a finding.** No failure in {kills} independent kills "
        f"says that, at 95 % confidence, fewer than {bound:.1%} of such kills (3/n) lose or double anything. It says "
        "nothing of kinds of faults that are not in the schedule, of power loss, or of other machines. The broker was "
        f"killed {of_broker} times meanwhile, while records were on their way to it."
    )


def _of_reactions(kills: list[int]) -> list[str]:
    if not kills:
        return []
    said = (
        f"The applications of the reactions were killed {sum(kills)} times in {len(kills)} of these runs, beside the driver: "
        "no alert, stock level, reorder request, live metric, segment or price was lost or said twice, and each was that of "
        "a batch."
    )
    return [said, ""]


def _row(run: dict[str, Any]) -> str:
    faults = ", ".join(f"{count} {kind}" for kind, count in run["faults"].items())
    recovery = run["recovery_seconds"]
    return (
        f"| {run['measured_at'][:16]} | {run['seed']} | {run['rate']:g} | {run['kills']} | {faults} | "
        f"{run['counts'].get('acknowledged', 0):,} | {recovery['median']}, {recovery['worst']} | {len(run['findings'])} |"
    )


def _findings(run: dict[str, Any]) -> list[str]:
    if not run["findings"]:
        return []
    found = [f"- {entry['promise']}: {entry['count']:,} times, e.g. `{entry['example']}`" for entry in run["findings"]]
    return [f"## Findings of seed {run['seed']} ({run['measured_at'][:10]}, commit `{run['commit']}`)", "", *found, ""]


def _controls(records: list[dict[str, Any]]) -> list[str]:
    if not records:
        return []
    last = records[-1]
    return [
        "## Negative controls",
        "",
        f"Each does the named thing for real on a copy of a lake ({last['measured_at'][:10]}, commit `{last['commit']}`).",
        "",
        "| control | what the verifier found | |",
        "|---|---|---|",
        *(f"| {c['name']} | {c['found']} | {'right' if c['right'] else '**wrong**'} |" for c in last["outcomes"]),
        "",
    ]


def _surroundings(runs: list[dict[str, Any]]) -> list[str]:
    if not runs:
        return []
    last = runs[-1]
    versions = ", ".join(f"{name} {number}" for name, number in last["versions"].items())
    return [f"Last run: commit `{last['commit']}`, {last['machine']}; {versions}.", ""]


def _commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=PROJECT_ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip()
