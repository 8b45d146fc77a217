"""How long a day takes from silver to the KPI file (load, dbt, checks), and a month as one range."""

from __future__ import annotations

import contextlib
import datetime as dt
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING, Any

from benchmarks.homes import broker, environment
from benchmarks.progress import counted, say
from retail_platform import kafka
from retail_platform.errors import RetailError
from retail_platform.producer import online_retail
from retail_platform.producer.send import send
from retail_platform.settings import Settings

if TYPE_CHECKING:
    from retail_platform.defs.execution import RunOutcome

_FIRST, _LAST = dt.date(2010, 12, 1), dt.date(2010, 12, 31)


def measure(days: int = 3) -> dict[str, Any]:
    """The real December 2010, drained; then its first ``days`` days one by one, then the month, each in a new process.

    Figures: first_day_seconds (also parses the dbt project and loads the seed), day_seconds of each further day,
    range_seconds, and the seconds of the range's slowest steps.
    """
    with broker() as settings:
        _fill(settings)
        singles = [_FIRST + dt.timedelta(days=number) for number in range(days)]
        ranges = [*((day, day) for day in singles), (_FIRST, _LAST)]
        seconds, outcomes = zip(*(_timed(settings, first, last) for first, last in ranges), strict=True)
    return {
        "parameters": {"days": days, "range": [_FIRST.isoformat(), _LAST.isoformat()]},
        "figures": {
            "first_day_seconds": seconds[0],
            "day_seconds": list(seconds[1:-1]),
            "range_seconds": seconds[-1],
            "range_steps": {name: round(took, 1) for name, took in list(outcomes[-1].steps.items())[:5]},
        },
    }


def _fill(settings: Settings) -> None:
    kafka.ensure_topics(settings)
    sample = online_retail.messages(online_retail.read(online_retail.sample_file()))
    with counted("real December 2010 into Kafka", len(sample)) as told:
        send(settings, sample, on_progress=told)
    say("draining it into the lake …")
    _in_a_process(settings, "ingest_stream", None)


def _timed(settings: Settings, first: dt.date, last: dt.date) -> tuple[float, RunOutcome]:
    began = time.monotonic()
    outcome = _in_a_process(settings, "daily_kpis", (first, last))
    seconds = round(time.monotonic() - began, 1)
    say(f"{first} to {last}: {seconds} s")
    return seconds, outcome


def _in_a_process(settings: Settings, job: str, dates: tuple[dt.date, dt.date] | None) -> RunOutcome:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        outcome = pool.submit(_run, settings, job, dates).result()
    broken = [check.name for check in outcome.checks if not check.passed]
    if not outcome.success or broken:
        raise RetailError(f"{job} failed: {'; '.join((*outcome.failures, *broken))}")
    return outcome


def _run(settings: Settings, job: str, dates: tuple[dt.date, dt.date] | None) -> RunOutcome:
    os.environ.update(environment(settings))  # of what the run starts in its turn
    from retail_platform.defs.execution import run_job  # noqa: PLC0415  a new process imports it as a user's would

    settings.logs_dir.mkdir(parents=True, exist_ok=True)
    with (settings.logs_dir / "benchmark.log").open("a") as log, contextlib.redirect_stdout(log):
        return run_job(settings, job, dates=dates)
