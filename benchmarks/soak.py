"""A day of trade in minutes, with the maintenance on: what grows, and what stays within bounds?

A simulated hour takes a minute or so, and its events have a real day's rise and fall. Batches cannot be made faster by
that: what grows by the batch is told for each thousand of them. Nor does the deduplication forget faster: what a checkpoint
weighs is told for each event_id that it remembers. Days do not pass: today's partitions are left to the
stream, and no version grows older than the history that is kept. What the maintenance does to those is tested
(``retail_platform_tests/ingest/test_maintenance.py``).
"""

from __future__ import annotations

import datetime as dt
import math
import multiprocessing
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import load
from benchmarks.homes import broker
from benchmarks.ingest import Job, held, ingest, refuse_loss
from benchmarks.processes import stat
from benchmarks.progress import counted
from retail_platform.contracts import ALL_TABLES, INGEST_BATCHES
from retail_platform.embedded.broker import EmbeddedBroker
from retail_platform.lakehouse import requests
from retail_platform.lakehouse.lease import holder
from retail_platform.lakehouse.reading import ledger
from retail_platform.settings import Settings

HOURS = 24
#: The largest value of the last quarter of the day may be so many times that of the second quarter.
MOST_GROWTH = {
    "job_mib": 1.15,
    "broker_mib": 1.15,
    "checkpoint_files": 1.2,
    "checkpoint_bytes_per_id": 1.5,
    "batch_seconds": 1.5,
}
_MAINTENANCE_EVERY_HOURS = 6
_MIB = 1024**2
_LOOK_SECONDS = 1.0
_DRAIN_SECONDS = 600.0
_WORK_SECONDS = 600.0
_QUIETEST, _BUSIEST_HOUR = 0.2, 16


@dataclass(frozen=True, slots=True)
class Hour:
    """What there is at the end of a simulated hour.

    ``remembered``: the event_ids in the deduplication's state. ``batch_seconds``: the median of the slowest query's batches.
    """

    job_mib: int
    broker_mib: int
    checkpoint_files: int
    checkpoint_mib: float
    checkpoint_bytes_per_id: int
    remembered: int
    lake_files: int
    lake_mib: float
    log_files: int
    ledger_files: int
    batches: int
    batch_seconds: float


def measure(hour_seconds: float = 60, rate: float = 200) -> dict[str, Any]:
    """Run the continuous ingest for 24 simulated hours under a day's load, with OPTIMIZE and VACUUM every six.

    Figures: the state after each six hours; growth: the largest of the last six hours ÷ the largest of the second six;
    files and log entries for each thousand batches; whether all of it is within the bounds.

    Raises:
        RetailError: a record was lost, or the job ended.
    """
    with (
        broker() as settings,
        ingest(settings, "continuous") as job,
        ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool,
    ):
        job.await_running()
        hours = []
        with counted("simulated hours", HOURS) as told:
            for number in range(HOURS):
                sending = pool.submit(load.steady, settings, rate * profile(number), hour_seconds)
                seconds = _batch_seconds(job, sending)
                if number % _MAINTENANCE_EVERY_HOURS == _MAINTENANCE_EVERY_HOURS - 1:
                    _maintain(settings)
                hours.append(_state(job, seconds))
                told(number + 1)
        job.await_drained(_DRAIN_SECONDS)
        refuse_loss(settings)
        records = held(settings)
    return {
        "parameters": {
            "hours": HOURS,
            "hour_seconds": hour_seconds,
            "rate": rate,
            "maintenance_every_hours": _MAINTENANCE_EVERY_HOURS,
            "driver_memory": settings.spark_driver_memory,
        },
        "figures": {"records": records, "lost": 0, **figures(hours)},
    }


def profile(hour: int) -> float:
    """The hour's load ÷ the day's mean: a wave with its crest in the afternoon."""
    wave = math.cos((hour - _BUSIEST_HOUR) / HOURS * 2 * math.pi)
    return 1 + (1 - _QUIETEST) * wave


def figures(hours: Sequence[Hour]) -> dict[str, Any]:
    """The figures of the day's hours."""
    quarter = len(hours) // 4
    second, last = hours[quarter : 2 * quarter], hours[-quarter:]
    growth = {
        name: round(max(getattr(hour, name) for hour in last) / max(getattr(hour, name) for hour in second), 2)
        for name in MOST_GROWTH
    }
    batches = hours[-1].batches - hours[0].batches
    return {
        "growth": growth,
        "within_bounds": all(growth[name] <= most for name, most in MOST_GROWTH.items()),
        "lake_files_per_1000_batches": round((hours[-1].lake_files - hours[0].lake_files) / batches * 1000),
        "log_files_per_1000_batches": round((hours[-1].log_files - hours[0].log_files) / batches * 1000),
        "after_hour": {number + 1: asdict(hours[number]) for number in range(quarter - 1, len(hours), quarter)},
    }


def _batch_seconds(job: Job, sending: Future[float]) -> float:
    seen = []
    while not sending.done():
        seen.append(max((query.batch_seconds for query in job.beat().queries), default=0.0))
        time.sleep(_LOOK_SECONDS)
    sending.result()
    return statistics.median(seen)


def _maintain(settings: Settings) -> None:
    """Ask the running stream for the nightly work."""
    tables = [table.path for table in ALL_TABLES]
    for work in ("optimize", "vacuum"):
        requests.ask(settings, work, {"tables": tables}, _WORK_SECONDS, alive=lambda: holder(settings) is not None)


def _state(job: Job, batch_seconds: float) -> Hour:
    settings = job.settings
    broker_pid = EmbeddedBroker(settings).status().pid
    found = stat(broker_pid) if broker_pid else None
    checkpoints, lake = _sizes(settings.checkpoints_dir), _sizes(settings.lake_dir)
    log = [path for path in lake if "_delta_log" in path.parts]
    entries = [path for path in lake if path.is_relative_to(settings.lake_dir / INGEST_BATCHES.path)]
    remembered = _remembered(settings)
    return Hour(
        job_mib=sum(member.rss_bytes for member in job.tree.look()) // _MIB,
        broker_mib=found.rss_bytes // _MIB if found else 0,
        checkpoint_files=len(checkpoints),
        checkpoint_mib=round(sum(checkpoints.values()) / _MIB, 1),
        checkpoint_bytes_per_id=round(sum(checkpoints.values()) / max(remembered, 1)),
        remembered=remembered,
        lake_files=len(lake) - len(log),
        lake_mib=round(sum(lake.values()) / _MIB, 1),
        log_files=len(log),
        ledger_files=len([path for path in entries if "_delta_log" not in path.parts]),
        batches=sum(query.batch_id + 1 for query in job.beat().queries),
        batch_seconds=round(batch_seconds, 2),
    )


def _remembered(settings: Settings) -> int:
    """An event_id lasts for two horizons: the watermark is one behind, and what it is to drop another."""
    lasting = 2 * dt.timedelta(minutes=settings.ingest_dedupe_horizon_minutes)
    return sum(entry.events + entry.refused for entry in ledger(settings, dt.datetime.now(dt.UTC) - lasting))


def _sizes(folder: Path) -> dict[Path, int]:
    """The size of every file below ``folder``; those that go meanwhile are left out."""
    found = {}
    for path in folder.rglob("*"):
        try:
            if path.is_file():
                found[path] = path.stat().st_size
        except FileNotFoundError:
            continue
    return found
