"""``retail replay`` and ``retail simulate`` as a user types them, against a real broker."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from retail_platform.cli.app import app
from retail_platform.errors import RetailError
from retail_platform.producer import online_retail
from retail_platform.settings import Settings, get_settings

Retail = Callable[..., Result]

GOOD = "1,A,x,2,2010-12-01 08:26:00,2.55,17850,France"


@pytest.fixture
def retail(broker: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Retail]:
    """Run a command with the environment of the running broker."""
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", broker.bootstrap_servers)
    monkeypatch.setenv("COLUMNS", "200")
    get_settings.cache_clear()
    yield lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])
    get_settings.cache_clear()


@pytest.fixture
def broken_file(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    path.write_text("\n".join([",".join(online_retail.COLUMNS), GOOD, "2,A,[x],two,2010-12-01 08:26:00,1,,France", ""]))
    return path


def refused(result: Result) -> str:
    """The message of the error that ended a command."""
    assert result.exit_code != 0
    return str(result.exception) if isinstance(result.exception, RetailError) else result.output


def test_the_sample_is_replayed_whole(retail: Retail) -> None:
    result = retail("replay", "--sample", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["rows"], report["broken_rows"]) == (42_481, [])
    assert report["acknowledged"] == sum(report["labels"].values()) > 2_000


def test_broken_rows_are_listed_and_counted_and_only_strict_minds(retail: Retail, broken_file: Path) -> None:
    result = retail("replay", broken_file)
    assert result.exit_code == 0
    assert "rows.csv line 3: Quantity 'two' is not a number" in result.stderr
    assert ["broken rows", "1"] in [
        [" ".join(line.split()[:-1]), line.split()[-1]] for line in result.stdout.splitlines()
    ]
    assert retail("replay", broken_file, "--strict").exit_code == 1
    report = json.loads(retail("replay", broken_file, "--json").stdout)
    assert report["broken_rows"] == [{"line": 3, "reason": "Quantity 'two' is not a number"}]


def test_replay_needs_a_file_or_the_sample(retail: Retail) -> None:
    assert "either a FILE or --sample" in refused(retail("replay"))


@pytest.mark.parametrize("speed", ["fast", "0", "-1", "nan", "inf"])
def test_a_speed_that_is_none_is_refused(retail: Retail, speed: str) -> None:
    assert "real time" in refused(retail("replay", "--sample", f"--speed={speed}"))


def test_a_day_is_simulated_with_its_faults_and_the_truth_about_fraud(retail: Retail, tmp_path: Path) -> None:
    truth = tmp_path / "truth.jsonl"
    options = ["--duplicates", 0.02, "--late", 0.01, "--malformed", 0.02, "--fraud", 0.05, "--truth", truth, "--json"]
    result = retail("simulate", "--start", "2026-03-02", "--events", 3000, "--stores", 5, *options)
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    labels = report["labels"]
    assert report["acknowledged"] == 3000 + labels["duplicate"]
    assert labels["late"] > 5
    fraud = [json.loads(line) for line in truth.read_text().splitlines()]
    assert len(fraud) == sum(count for label, count in labels.items() if label.startswith("fraud:"))
    assert all(set(entry) == {"event_id", "kind", "pattern_id"} for entry in fraud)


def test_a_live_simulation_keeps_its_rate_and_says_what_it_reached(retail: Retail) -> None:
    result = retail("simulate", "--rate", 200, "--duration", "2s", "--json")
    report = json.loads(result.stdout)
    assert report["acknowledged"] == 400
    assert report["seconds"] > 1.9
    assert report["rate"] < 211
    assert "rate reached" in retail("simulate", "--rate", 500, "--events", 100).stdout


def test_now_at_full_speed_is_the_time_up_to_now(retail: Retail) -> None:
    result = retail("simulate", "--speed", "max", "--events", 500, "--duration", "2h", "--json")
    assert json.loads(result.stdout)["acknowledged"] == 500


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--start", "yesterday"), "--start as now"),
        (("--start", "2001-01-01"), "PARTITIONS_START_DATE"),
        (("--start", "2999-01-01"), "in the future"),
        (("--duration", "ten"), "number and a unit"),
        (("--speed", "5"), "--speed 1"),
        (("--start", "2026-03-02", "--events", "5", "--rate", "5"), "contradict"),
        (("--events", "5", "--rate", "5", "--duration", "1m"), "say too much"),
        (("--malformed", "0.7", "--duplicates", "0.7"), "more than 1"),
        (("--events", "5", "--truth", "/nowhere/at/all"), "cannot be written"),
    ],
)
def test_options_that_make_no_sense_are_named(retail: Retail, options: tuple[str, ...], named: str) -> None:
    assert named in refused(retail("simulate", *options))
