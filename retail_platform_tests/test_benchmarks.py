"""The benchmarks' arithmetic, load and report; and one very small run of real parts. No figure is asserted."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from benchmarks import drain, growth, hostile, load, reactions, report, results, scaling, single_process, soak
from benchmarks.figures import median_ratio, per_million, percentiles
from benchmarks.homes import lake_beside
from benchmarks.machine import machine, versions
from benchmarks.processes import Tree, ended, stat
from benchmarks.streams import Pass
from retail_platform.contracts import TOPICS
from retail_platform.contracts.judge import judge
from retail_platform.producer.message import Message
from retail_platform.settings import Settings
from retail_platform_tests.producer.contract_validator import problems

NOON = dt.datetime(2026, 3, 2, 12, tzinfo=dt.UTC)


# --- Arithmetic -------------------------------------------------------------------------------------------------------


def test_percentiles_lie_between_the_values_around_them():
    values = [float(number) for number in range(101)]
    assert percentiles(values, 50, 95, 99) == {"p50": 50.0, "p95": 95.0, "p99": 99.0}


def test_percentiles_of_one_value_are_refused():
    with pytest.raises(ValueError, match="say nothing"):
        percentiles([1.0], 50)


def test_a_ratio_is_the_median_over_the_orders():
    assert median_ratio([10, 30], [20, 20]) == 1.0
    assert per_million(50, 200_000) == 250


def drained() -> dict[str, Any]:
    passes = {
        "whole_ingest": [
            Pass(1000, 2.0, 4.0, minute_sales_seconds=3.0),
            Pass(1000, 1.0, 2.0, minute_sales_seconds=5.0),
        ],
        "parse_only": [Pass(1000, 1.0, 1.0), Pass(1000, 1.0, 1.0)],
        "append_only": [Pass(1000, 0.5, 0.5), Pass(1000, 0.5, 0.5)],
    }
    return drain.figures(passes)


def test_a_drains_rates_and_ratios_come_from_its_passes():
    found = drained()
    assert found["rate"]["whole_ingest"] == [500, 1000]
    assert found["cpu_per_million"]["whole_ingest"] == [4000.0, 2000.0]
    assert (found["whole_to_parse"], found["whole_to_append"]) == (0.75, 0.375)
    assert found["minute_sales_seconds"] == 4.0


SCALED = {
    (cores, partitions): [Pass(1000, 1 / (cores * partitions), 1.0), Pass(1000, 1 / cores, 1.0)]
    for cores in scaling.CORES
    for partitions in scaling.PARTITIONS
}


def test_scaling_compares_the_most_with_the_fewest_of_one_thing():
    found = scaling.figures(SCALED)
    assert found["rate"]["2 cores, 4 partitions"] == [8000, 2000]
    assert (found["cores_ratio"], found["partitions_ratio"]) == (2.0, 2.5)


def test_growth_compares_the_medians_of_either_lake():
    found = growth.figures({"small": {"on_time": [1.0, 1.0, 9.0]}, "large": {"on_time": [1.2, 1.2, 0.1]}})
    assert found["batch_seconds"] == {"on_time": {"small": 1.0, "large": 1.2}}
    assert found["ratio"] == {"on_time": 1.2}


# --- Load -------------------------------------------------------------------------------------------------------------


def first_messages(count: int) -> list[Message]:
    return list(itertools.islice(load.sales(lambda: NOON), count))


def test_the_contract_accepts_every_event_of_the_load_but_the_poison():
    for message in first_messages(2000):
        assert bool(problems(message)) == (message.label == "poison"), message.value


def test_the_load_has_the_size_the_lines_and_the_poison_it_says():
    messages = first_messages(5000)
    lines = [len(json.loads(message.value or b"")["items"]) for message in messages if message.label == "sale"]
    assert 380 < load.mean_bytes() < 450
    assert sum(lines) / len(lines) == pytest.approx(load.LINES_PER_EVENT, abs=0.05)
    assert (len(messages) - len(lines)) / len(messages) == pytest.approx(load.POISON, abs=0.005)


def test_a_soaks_growth_is_the_last_quarter_of_the_day_over_the_second() -> None:
    assert soak.figures(steady_day())["within_bounds"]
    leaking = [replace(hour, job_mib=1000 + 20 * number) for number, hour in enumerate(steady_day())]
    found = soak.figures(leaking)
    assert found["growth"]["job_mib"] == round((1000 + 20 * 23) / (1000 + 20 * 11), 2)
    assert not found["within_bounds"]
    assert (found["lake_files_per_1000_batches"], found["log_files_per_1000_batches"]) == (2000, 3000)


def test_a_simulated_day_has_the_mean_load_and_is_busiest_in_the_afternoon() -> None:
    day = [soak.profile(hour) for hour in range(soak.HOURS)]
    assert sum(day) / soak.HOURS == pytest.approx(1)
    assert (max(day), min(day)) == (pytest.approx(1.8), pytest.approx(0.2))
    assert day.index(max(day)) == 16


def steady_day() -> list[soak.Hour]:
    return [
        soak.Hour(1000, 300, 90, 5.0, 90, 60_000, 200 * n, 10.0, 300 * n, 1, 100 * n, 0.5) for n in range(soak.HOURS)
    ]


def test_no_record_of_the_hostile_load_is_valid_and_each_kind_is_among_them():
    contracts = {contract.topic: contract for contract in TOPICS}
    kinds, size = Counter[str](), 0
    for message in itertools.islice(hostile.messages(), 20_000):
        judgement = judge(contracts[message.topic], message.value, NOON, "UTC", dt.date(2010, 12, 1))
        assert judgement.reasons, (message.label, (message.value or b"")[:300])
        kinds[message.label] += 1
        size += len(message.value or b"")
    assert len(kinds) > 20
    assert size / 20_000 < 2_000, "a million of them fit a laptop's disk"


def test_the_hostile_load_is_decided_by_its_seed():
    first, again = (list(itertools.islice(hostile.messages(7), 500)) for _ in range(2))
    assert first == again


# --- Processes --------------------------------------------------------------------------------------------------------


_GRANDCHILD = "import time; time.sleep(600)"
_CHILD = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {_GRANDCHILD!r}], start_new_session=True)
print(child.pid, flush=True)
sys.stdin.read()
"""


def test_nothing_that_a_measured_process_started_is_left_though_its_parent_has_ended():
    process = subprocess.Popen([sys.executable, "-c", _CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdout, ended(process) as tree:
        grandchild = int(process.stdout.readline())
        assert {member.pid for member in tree.look()} == {process.pid, grandchild}
        patience = time.monotonic() + 10
        while not tree.peak_bytes:  # what has just started is not in the sum
            assert {member.pid for member in tree.look()} == {process.pid, grandchild}
            assert time.monotonic() < patience
        process.stdin.close()
        process.wait()
        assert [member.pid for member in tree.look()] == [grandchild]
    deadline = time.monotonic() + 10
    while (left := stat(grandchild)) is not None and not left.zombie:
        assert time.monotonic() < deadline
    assert tree.peak_bytes > 0
    assert set(tree.peak_parts) == {"python"}


def test_a_tree_of_a_process_that_has_ended_is_empty():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert Tree(process.pid).look() == []


# --- Results and report -----------------------------------------------------------------------------------------------


def result(figures: dict[str, Any], load_before: float = 0.1) -> results.Result:
    return {
        "measured_at": "2026-03-02T12:00:00+00:00",
        "commit": "abc1234",
        "load_before": load_before,
        "machine": {"cpu": "A CPU", "cores": 2, "memory_gib": 8.0, "system": "Linux"},
        "versions": {"python": "3.11"},
        "parameters": {"runs": 5},
        "figures": figures,
    }


STARTUP = {"import_seconds": [3.1], "import_median": 3.1, "dev_seconds": [31.0], "dev_median": 31.0}


def test_a_result_replaces_the_last_one_of_its_benchmark_and_leaves_the_others(tmp_path: Path):
    file = tmp_path / "results.json"
    results.record("startup", result({"a": 1}), file)
    results.record("memory", result({"b": 2}), file)
    results.record("startup", result({"a": 3}), file)
    assert {name: entry["figures"] for name, entry in results.read(file).items()} == {
        "memory": {"b": 2},
        "startup": {"a": 3},
    }


def test_the_report_says_what_was_met_what_was_missed_and_what_was_not_measured():
    rows = [line for line in report.text({"startup": result(STARTUP)}).splitlines() if line.startswith("| `")]
    imports, dev = (row for row in rows if "definitions" in row or "dagster dev" in row)
    assert "| 3.1 s | met |" in imports
    assert "| 31.0 s | **missed** |" in dev
    assert all("not measured yet" in row for row in rows if "make demo" in row)


def test_the_report_tells_every_goal_from_its_benchmarks_figures():
    batches = {lake: {kind: [1.0] for kind in growth.KINDS} for lake in ("small", "large")}
    rates = {"rate": {"spark": [15_000], "python": [30_000]}, "spark_to_python": 0.5, "cpu_spark": 90, "cpu_python": 30}
    run = {"seconds": 100.0, "peak_gib": 3.0}
    measured = {
        "drain": drained(),
        "scaling": scaling.figures(SCALED),
        "single_process": rates,
        "freshness": {"p50": 1.2, "p95": 2.5, "p99": 3.5},
        "growth": growth.figures(batches),
        "demo": {"cold": run, "warm": run},
        "startup": STARTUP,
        "daily": {"first_day_seconds": 31.0, "day_seconds": [20.0, 22.0], "range_seconds": 50.0},
        "memory": {"peak_gib": 3.5, "parts_gib": {"Spark": 2.0}},
        "hostile": {"records": 9, "quarantined": 8, "megabytes": 1, "rate": 3, "peak_gib": 2.0, "parts_gib": {}},
        "burst": {
            "seconds_to_normal": 30.0,
            "rate_before": 500,
            "rate_of_burst": 5000,
            "normal_lag": 700,
            "most_lag": 9000,
            "lost": 0,
        },
        "reactions": {"topics": {"stock-levels": {"p50": 0.15, "p99": 0.4}}},
        "reactions_metrics": {"topics": {"live-metrics": {"p50": 0.15, "p99": 0.3}}},
        "reactions_together": {
            "rate_sent": 400,
            "topics": {"stock-levels": {"p50": 0.15, "p99": 0.4}},
            "cpu_ms_per_sale": 1.5,
            "memory_mib": 900,
        },
        "reactions_state": {
            "topics": {"stock-levels": {"p50": 0.15, "p99": 0.6}},
            "memory_mib": 900,
            "state_mib": 1200,
        },
        "reactions_burst": {
            "seconds_to_normal": 90.0,
            "rate_before": 500,
            "rate_of_burst": 5000,
            "burst": {"stock-levels": {"p99": 80.0}},
            "lost": 1,
            "stock_levels": 1000,
        },
        "reactions_rate": {"1": {"highest_rate": 1000}, "2": {"highest_rate": 1400}},
        "soak": {"lost": 0, **soak.figures(steady_day())},
    }
    assert set(measured) == {goal.benchmark for goal in report.GOALS}
    document = report.text({name: result(figures) for name, figures in measured.items()})
    assert "not measured yet" not in document
    assert "| 0.75 (750 ÷ 1,000 events/s) | **missed** |" in document
    assert "| p50 1.20 s, p95 2.50 s, p99 3.50 s | met |" in document
    assert "| 22 s (31 s the first ever) | met |" in document
    assert "| 8 of 9 (1 MB, 3/s) | **missed** |" in document
    assert "| stock-levels p50 0.15 s, p99 0.40 s | met |" in document
    assert "| stock-levels p50 0.15 s, p99 0.60 s | **missed** |" in document
    assert "1 of 1,000 lost) | **missed** |" in document


def test_a_second_is_slow_when_more_than_one_in_twenty_of_its_results_came_late():
    read = [10 + number / 20 for number in range(40)]
    one_straggler = [9.0] + [0.1] * 19
    found = reactions.Results(latencies=[*one_straggler, 9.0, *one_straggler[:-1]], read=read)
    assert list(found.slow_seconds(0.5)) == [11]


def test_a_sale_is_seen_when_the_cell_of_its_minute_counts_it():
    made = [NOON + dt.timedelta(seconds=second) for second in (1, 2, 3, 61)]
    noon = NOON.timestamp()
    told = reactions.Results(
        minutes={
            "2026-03-02T12:00:00.000000Z": [(noon + 2.5, 2), (noon + 4, 3)],
            "2026-03-02T12:01:00.000000Z": [(noon + 61.25, 1)],
        }
    )
    assert reactions.counted_sales(made, told).latencies == [1.5, 0.5, 1.0, 0.25]


def test_the_report_warns_of_figures_from_a_busy_machine():
    assert "busy" not in report.text({"startup": result(STARTUP)})
    assert "busy" in report.text({"startup": result(STARTUP, load_before=1.5)})


def test_the_committed_report_is_the_one_of_the_committed_results():
    assert report.DOCUMENT.read_text(encoding="utf-8") == report.text(results.read())


def test_a_result_names_the_machine_and_the_versions():
    assert machine()["cores"] >= 1
    assert {"python", "java", "pyspark", "delta", "kafka", "duckdb", "dagster", "dbt-core", "deltalake"} <= set(
        versions()
    )


# --- A very small run -------------------------------------------------------------------------------------------------


def test_one_process_takes_a_topic_into_bronze_and_its_valid_lines_into_silver(broker: Settings, tmp_path: Path):
    settings = lake_beside(broker, "", "benchmark").model_copy(
        update={"retail_home": tmp_path, "ingest_max_offsets_per_batch": 300}
    )
    load.preload(settings, 1000, "events into Kafka")
    done = single_process.drain(settings, 1000)
    valid = [message for message in itertools.islice(load.sales(lambda: NOON), 1000) if message.label == "sale"]
    lines = sum(len(json.loads(message.value or b"")["items"]) for message in valid)
    assert done.events == 1000
    assert DeltaTable(settings.lake_dir / "bronze").to_pyarrow_dataset().count_rows() == 1000
    assert DeltaTable(settings.lake_dir / "silver").to_pyarrow_dataset().count_rows() == lines
