"""A burst over a steady load: is anything lost, and how long until the stream has caught up with it?"""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from benchmarks import load
from benchmarks.homes import broker
from benchmarks.ingest import Job, held, ingest, lag, refuse_loss
from benchmarks.progress import counted, say
from retail_platform.errors import RetailError
from retail_platform.settings import Settings

_GIB = 1024**3
_LOOK_SECONDS = 1.0
_NORMAL_SECONDS = 60.0
_AFTER_SECONDS = 10.0
_CAUGHT_UP_LOOKS = 5
_MOST_SECONDS = 1800.0
_PERCENT_95 = 95


def measure(
    rate: float = 500, factor: float = 10, seconds: float = 120, warm_up_seconds: float = 120
) -> dict[str, Any]:
    """Send ``rate`` events a second to a continuous ingest, ``factor`` times as many for ``seconds``, then ``rate`` again.

    Lag is the number of records that the slowest query has yet to bring into the lake; what is normal is its 95th
    percentile in the minute before the burst. Figures: normal_lag, most_lag, seconds_to_normal (from the burst's end until
    the lag stayed normal), the rates that were reached, the job's peak_gib, records, and how many of them were lost.

    Raises:
        RetailError: a record was lost, or the lag was not normal again within half an hour.
    """
    with broker() as settings, ingest(settings, "continuous") as job, _sender() as pool:
        job.await_running()
        watch = _Watch(job)
        say(f"warming up for {warm_up_seconds:.0f} s, then {_NORMAL_SECONDS:.0f} s of what is normal …")
        watch.during(_sent(pool, settings, rate, warm_up_seconds))
        normal = watch.during(_sent(pool, settings, rate, _NORMAL_SECONDS))
        usual = statistics.quantiles(normal.lags, n=100, method="inclusive")[_PERCENT_95 - 1]
        with counted(f"{rate * factor:,.0f}/s: seconds", int(seconds)) as told:
            high = watch.during(_sent(pool, settings, rate * factor, seconds), told)
        back, most = _await_normal(pool, settings, rate, usual)
        job.await_drained(_MOST_SECONDS)
        refuse_loss(settings)
        records = held(settings)
    return {
        "parameters": {
            "rate": rate,
            "factor": factor,
            "seconds": seconds,
            "warm_up_seconds": warm_up_seconds,
            "nice": settings.ingest_nice,
            "driver_memory": settings.spark_driver_memory,
        },
        "figures": {
            "rate_before": round(normal.rate),
            "rate_of_burst": round(high.rate),
            "normal_lag": round(usual),
            "most_lag": max(*high.lags, most),
            "seconds_to_normal": round(back, 1),
            "records": records,
            "lost": 0,
            "peak_gib": round(job.tree.peak_bytes / _GIB, 2),
        },
    }


@dataclass
class _Phase:
    """The lags seen while it lasted, and the rate that was reached."""

    lags: list[int] = field(default_factory=list)
    rate: float = 0.0


@dataclass(frozen=True, slots=True)
class _Watch:
    job: Job

    def during(self, sending: Future[float], told: Any = None) -> _Phase:
        """Look at the lag once a second until all is sent."""
        phase, began = _Phase(), time.monotonic()
        while not sending.done():
            phase.lags.append(lag(self.job.settings))
            if told is not None:
                told(int(time.monotonic() - began))
            time.sleep(_LOOK_SECONDS)
        phase.rate = sending.result()
        return phase


def _await_normal(pool: ProcessPoolExecutor, settings: Settings, rate: float, usual: float) -> tuple[float, int]:
    """Seconds until the lag is at most ``usual``, and stays so for five looks; and the most it was meanwhile."""
    ended, quiet, lags = time.monotonic(), 0, [0]
    normal_since = ended
    while quiet < _CAUGHT_UP_LOOKS:
        sending = _sent(pool, settings, rate, _AFTER_SECONDS)
        while not sending.done() and quiet < _CAUGHT_UP_LOOKS:
            lags.append(lag(settings))
            quiet = quiet + 1 if lags[-1] <= usual else 0
            normal_since = normal_since if quiet else time.monotonic()
            time.sleep(_LOOK_SECONDS)
        sending.result()
        if time.monotonic() - ended > _MOST_SECONDS:
            raise RetailError(
                f"the lag is {lags[-1]:,} after {_MOST_SECONDS:.0f} s; this machine cannot keep up; lower --rate"
            )
    return normal_since - ended, max(lags)


@contextmanager
def _sender() -> Iterator[ProcessPoolExecutor]:
    """A process that sends: in this one it would share the interpreter with what looks on."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        yield pool


def _sent(pool: ProcessPoolExecutor, settings: Settings, rate: float, seconds: float) -> Future[float]:
    return pool.submit(load.steady, settings, rate, seconds)
