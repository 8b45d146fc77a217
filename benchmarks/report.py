"""``docs/benchmarks.md`` from the results: what was to be reached, what was, and how it was measured."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.machine import busy
from benchmarks.results import Result
from benchmarks.soak import MOST_GROWTH
from retail_platform.settings import PROJECT_ROOT

DOCUMENT = PROJECT_ROOT / "docs" / "benchmarks.md"

Figures = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Goal:
    """One row of the table: ``reached`` tells the figure, ``met`` whether it is good enough (``None``: no target)."""

    benchmark: str
    what: str
    target: str
    reached: Callable[[Figures], str]
    met: Callable[[Figures], bool] | None
    how: str


def _growth(kind: str, words: str, how: str) -> Goal:
    def reached(figures: Figures) -> str:
        seconds = figures["batch_seconds"][kind]
        return f"{figures['ratio'][kind]:.2f} ({seconds['large']:.2f} s ÷ {seconds['small']:.2f} s)"

    return Goal(
        "growth",
        f"a batch on the large silver ÷ the same on the small one: {words}",
        "at most 1.3",
        reached,
        lambda figures: bool(figures["ratio"][kind] <= 1.3),  # noqa: PLR2004
        how,
    )


def _topics(figures: Figures) -> str:
    return "; ".join(
        f"{topic} p50 {told['p50']:.2f} s, p99 {told['p99']:.2f} s" for topic, told in figures["topics"].items()
    )


def _reactions(benchmark: str, what: str, how: str) -> Goal:
    def met(figures: Figures) -> bool:
        return all(told["p50"] < 0.2 and told["p99"] < 0.5 for told in figures["topics"].values())  # noqa: PLR2004

    return Goal(
        benchmark,
        f"a sale → {what} read by another process, 1,000 a second",
        "p50 under 0.2 s, p99 under 0.5 s",
        _topics,
        met,
        how,
    )


_PASSES = "warm, one JVM, orders A B C and C B A, median of the two ratios"
_SUM = "highest sum of the resident memory of all processes; pages they share count for each"

GOALS: tuple[Goal, ...] = (
    Goal(
        "drain",
        "whole ingest ÷ a minimal stream that parses into one silver table",
        "at least 0.9",
        lambda f: f"{f['whole_to_parse']:.2f} ({_rates(f, 'whole_ingest')} ÷ {_rates(f, 'parse_only')} events/s)",
        lambda f: bool(f["whole_to_parse"] >= 0.9),  # noqa: PLR2004
        _PASSES,
    ),
    Goal(
        "drain",
        "whole ingest ÷ a minimal stream that appends the raw value",
        "at least 0.3",
        lambda f: f"{f['whole_to_append']:.2f} ({_rates(f, 'whole_ingest')} ÷ {_rates(f, 'append_only')} events/s)",
        lambda f: bool(f["whole_to_append"] >= 0.3),  # noqa: PLR2004
        _PASSES,
    ),
    Goal(
        "drain",
        "minute sales of the drained topic, afterwards",
        "–",
        lambda f: f"{f['minute_sales_seconds']:.1f} s",
        None,
        "the query that follows silver; not in the rates above",
    ),
    Goal(
        "scaling",
        "whole ingest on two cores ÷ on one, four partitions",
        "report",
        lambda f: f"{f['cores_ratio']:.2f}",
        None,
        "one JVM, both orders; broker and driver share the two cores",
    ),
    Goal(
        "scaling",
        "whole ingest from four partitions ÷ from one, two cores",
        "report",
        lambda f: f"{f['partitions_ratio']:.2f}",
        None,
        "as above",
    ),
    Goal(
        "single_process",
        "whole ingest ÷ one Python process (aiokafka, pyarrow, delta-rs; bronze and silver, no dedupe)",
        "report",
        lambda f: f"{f['spark_to_python']:.2f} ({_rates(f, 'spark')} ÷ {_rates(f, 'python')} events/s)",
        None,
        "one run, order A B B A, Spark warm",
    ),
    Goal(
        "single_process",
        "CPU seconds per million events: whole ingest, one Python process",
        "report",
        lambda f: f"{f['cpu_spark']:.0f} s, {f['cpu_python']:.0f} s",
        None,
        "user and system, from /proc: driver and JVM; the one process",
    ),
    Goal(
        "freshness",
        "Kafka append → row read from silver by another process",
        "p50 under 1.5 s, p95 under 3 s",
        lambda f: f"p50 {f['p50']:.2f} s, p95 {f['p95']:.2f} s, p99 {f['p99']:.2f} s",
        lambda f: bool(f["p50"] < 1.5 and f["p95"] < 3),  # noqa: PLR2004
        "steady load, warm; broker, sender, ingest and reader share the machine; time by row",
    ),
    _reactions(
        "reactions",
        "its alert and its stock level",
        "steady load, warm; broker, sender, ingest, reactions and reader share the machine",
    ),
    _reactions("reactions_metrics", "the live metrics it changes", "the same, with the application of the metrics"),
    Goal(
        "reactions_together",
        "all three applications and the ingest side by side, with a model and states of 20 days",
        "report",
        lambda f: (
            f"at {f['rate_sent']:,} sales a second: {_topics(f)}; {f['cpu_ms_per_sale']:.2f} CPU ms a sale, "
            f"{f['memory_mib']:,} MiB"
        ),
        None,
        "steady load, warm, everything on the two cores; CPU and memory of the applications",
    ),
    _reactions(
        "reactions_state",
        "its alert and its stock level, with a million cards in the state,",
        "the same with a card and its features each, and the stocks, in the state before",
    ),
    Goal(
        "reactions_state",
        "memory and state on disk of the reactions with that",
        "report",
        lambda f: f"{f['memory_mib']:,} MiB, {f['state_mib']:,} MiB",
        None,
        "resident; RocksDB's files",
    ),
    Goal(
        "reactions_burst",
        "a burst of sales: until stock levels are as quick as before",
        "none lost, report",
        lambda f: (
            f"{f['seconds_to_normal']:.0f} s ({f['rate_before']:,}/s, then {f['rate_of_burst']:,}/s; p99 of the burst "
            f"{f['burst']['stock-levels']['p99']:.1f} s; {f['lost']} of {f['stock_levels']:,} lost)"
        ),
        lambda f: not f["lost"],
        "broker, sender, ingest, reactions and reader share the machine",
    ),
    Goal(
        "reactions_rate",
        "highest rate at which the p99 of stock levels stays under 1 s: one process, two",
        "report",
        lambda f: f"{f['1']['highest_rate']:,}/s, {f['2']['highest_rate']:,}/s",
        None,
        "without the ingest; raised step by step",
    ),
    _growth("on_time", "events on time", "order S L L S in one warm JVM, median batch"),
    _growth(
        "remembered", "the same, with every event_id of it in the dedupe state", "as if it had grown within the horizon"
    ),
    _growth("late_other_day", "late events of another date", "looked up in that date's silver"),
    _growth("late_same_day", "late events of another hour of the date that grew", "looked up in that hour's files"),
    _growth("late_same_minutes", "late events of the minutes that grew", "looked up in all of it: the worst there is"),
    Goal(
        "demo",
        "`make demo` on a fresh clone, cold",
        "under 6 min",
        lambda f: f"{f['cold']['seconds']:.0f} s",
        lambda f: bool(f["cold"]["seconds"] < 360),  # noqa: PLR2004
        "empty caches; the registries' pace is in it",
    ),
    Goal(
        "demo",
        "`make demo` on a fresh clone, warm",
        "under 2 min",
        lambda f: f"{f['warm']['seconds']:.0f} s",
        lambda f: bool(f["warm"]["seconds"] < 120),  # noqa: PLR2004
        "packages and jars in the user's cache; `.venv` is made",
    ),
    Goal(
        "startup",
        "`import retail_platform.definitions`",
        "under 4 s",
        lambda f: f"{f['import_median']:.1f} s",
        lambda f: bool(f["import_median"] < 4),  # noqa: PLR2004
        "a new process to its end, bytecode warm, median",
    ),
    Goal(
        "startup",
        "`dagster dev` until the assets answer",
        "under 25 s",
        lambda f: f"{f['dev_median']:.1f} s",
        lambda f: bool(f["dev_median"] < 25),  # noqa: PLR2004
        "from the start of the process to the first answer over GraphQL, median",
    ),
    Goal(
        "daily",
        "one day through load → dbt → KPI",
        "under 30 s",
        lambda f: f"{max(f['day_seconds']):.0f} s ({f['first_day_seconds']:.0f} s the first ever)",
        lambda f: bool(max(f["day_seconds"]) < 30),  # noqa: PLR2004
        "a new process each, its start and the checks included; the first parses the dbt project and loads the seed",
    ),
    Goal(
        "daily",
        "31 days as a range",
        "under 60 s",
        lambda f: f"{f['range_seconds']:.0f} s",
        lambda f: bool(f["range_seconds"] < 60),  # noqa: PLR2004
        "the real December 2010, one run, a new process",
    ),
    Goal(
        "memory",
        "peak memory of the whole demo",
        "under 4 GiB",
        lambda f: f"{f['peak_gib']:.2f} GiB ({_parts(f)})",
        lambda f: bool(f["peak_gib"] < 4),  # noqa: PLR2004
        _SUM,
    ),
    Goal(
        "hostile",
        "malformed, hostile and huge records: in quarantine with a reason, none lost, no batch failed",
        "every one",
        lambda f: f"{f['quarantined']:,} of {f['records']:,} ({f['megabytes']:,} MB, {f['rate']:,}/s)",
        lambda f: bool(f["quarantined"] == f["records"]),
        "seeded; through the broker and the whole job, cold, in its usual heap",
    ),
    Goal(
        "hostile",
        "peak memory of the job meanwhile",
        "under 3 GiB",
        lambda f: f"{f['peak_gib']:.2f} GiB ({_parts(f)})",
        lambda f: bool(f["peak_gib"] < 3),  # noqa: PLR2004
        _SUM,
    ),
    Goal(
        "burst",
        "a burst over a steady load: until the lag is what it was before",
        "under 2 min, none lost",
        lambda f: (
            f"{f['seconds_to_normal']:.0f} s ({f['rate_before']:,}/s, then {f['rate_of_burst']:,}/s; lag "
            f"{f['normal_lag']:,}, at most {f['most_lag']:,}; {f['lost']} lost)"
        ),
        lambda f: bool(f["seconds_to_normal"] < 120 and not f["lost"]),  # noqa: PLR2004
        "broker, sender and ingest share the machine; normal: the 95th percentile of the minute before",
    ),
    Goal(
        "soak",
        "24 simulated hours: the last six ÷ the second six",
        ", ".join(f"{name.replace('_', ' ')} at most {most}" for name, most in MOST_GROWTH.items()),
        lambda f: ", ".join(f"{name.replace('_', ' ')} {ratio}" for name, ratio in f["growth"].items()),
        lambda f: bool(f["within_bounds"] and not f["lost"]),
        "the largest of six hours; OPTIMIZE and VACUUM every six hours, by the running stream",
    ),
)


def render(results: dict[str, Result], document: Path = DOCUMENT) -> None:
    """Write the document."""
    document.parent.mkdir(parents=True, exist_ok=True)
    document.write_text(text(results), encoding="utf-8")


def text(results: dict[str, Result]) -> str:
    """The document: the table of goals, then each result with all that its figures belong to."""
    lines = [
        "# Benchmarks",
        "",
        "Written by `python -m benchmarks render` from `benchmarks/results.json`; `make bench` measures all of it again.",
        "A figure belongs to the machine that its section names. No test asserts one.",
        "",
        "| what | target | reached | | how |",
        "|---|---|---|---|---|",
        *(_row(goal, results.get(goal.benchmark)) for goal in GOALS),
    ]
    for name, result in results.items():
        lines += ["", *_section(name, result)]
    return "\n".join(lines) + "\n"


def _row(goal: Goal, result: Result | None) -> str:
    if result is None:
        return f"| {goal.what} | {goal.target} | not measured yet | | {goal.how} |"
    figures = result["figures"]
    verdict = "" if goal.met is None else "met" if goal.met(figures) else "**missed**"
    return f"| {goal.what} | {goal.target} | {goal.reached(figures)} | {verdict} | {goal.how} |"


def _section(name: str, result: Result) -> list[str]:
    machine, versions = result["machine"], result["versions"]
    warning = " (**the machine was busy: measure again before you rely on it**)"
    return [
        f"## {name}",
        "",
        f"- {result['measured_at']}, commit `{result['commit']}`",
        f"- {machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']}",
        f"- load average before: {result['load_before']}" + warning * busy(result["load_before"], machine["cores"]),
        f"- {', '.join(f'{package} {number}' for package, number in versions.items())}",
        f"- parameters: {', '.join(f'{key} {value}' for key, value in result['parameters'].items())}",
        "",
        "```json",
        json.dumps(result["figures"], indent=1, ensure_ascii=False),
        "```",
    ]


def _rates(figures: Figures, stream: str) -> str:
    return f"{statistics.median(figures['rate'][stream]):,.0f}"


def _parts(figures: Figures) -> str:
    return ", ".join(f"{name} {size}" for name, size in figures["parts_gib"].items())
