"""What a micro-batch costs as silver grows: the same batches on a small lake and on a large one, in one JVM.

Both lakes are filled within minutes. At first Spark's state remembers every event_id of them, as a live stream's would
those of its last half hour; later it has forgotten them, and silver alone differs. Then there are late events as well,
which are looked up in silver: of another business date, of another hour of the date that has grown, and of the very
minutes that have, the worst there is.
"""

from __future__ import annotations

import datetime as dt
import itertools
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pyspark.sql import SparkSession

from benchmarks import load
from benchmarks.homes import broker, lake_beside
from benchmarks.progress import counted
from benchmarks.streams import session, whole_ingest
from retail_platform.contracts import TRANSACTIONS
from retail_platform.lakehouse.manifest import manifest
from retail_platform.settings import Settings

_REMEMBERED = ("remembered",)
_FORGOTTEN = ("on_time", "late_other_day", "late_same_day", "late_same_minutes")
KINDS = (*_REMEMBERED, *_FORGOTTEN)
_AGES = {"late_other_day": dt.timedelta(days=3), "late_same_day": dt.timedelta(hours=3)}
_HORIZON_MINUTES = 10
_ROUNDS = ("small", "large", "large", "small")


def measure(
    small_rows: int = 200_000, large_rows: int = 5_000_000, batch_events: int = 2_000, batches: int = 12
) -> dict[str, Any]:
    """Time ``batches`` batches of ``batch_events`` of each kind on lakes of ``small_rows`` and ``large_rows`` lines.

    The lakes are filled by the ingest itself, which also warms the JVM; then small, large, large, small. The shortest
    horizon that there is, or to wait until all is forgotten would take an hour. Figures: rows of each lake, the median
    seconds of a batch by kind and lake (first batch of each drain left out), the ratios.
    """
    with broker() as base:
        settings = base.model_copy(
            update={"business_timezone": _zone_of_noon(), "ingest_dedupe_horizon_minutes": _HORIZON_MINUTES}
        )
        spark = session(settings)
        try:
            runner = _Runner(spark, settings, batch_events, batches)
            rows = {"small": runner.grow("small", small_rows), "large": runner.grow("large", large_rows)}
            runner.compare(_REMEMBERED)
            _forget()
            runner.compare(_FORGOTTEN)
        finally:
            spark.stop()
    return {
        "parameters": {
            "small_rows": small_rows,
            "large_rows": large_rows,
            "batch_events": batch_events,
            "batches": batches,
            "horizon_minutes": _HORIZON_MINUTES,
            "driver_memory": settings.spark_driver_memory,
        },
        "figures": {"rows": rows, **figures(runner.seconds)},
    }


@dataclass
class _Runner:
    """The two lakes, each with a topic of its own, and the seconds of every measured batch by lake and kind."""

    spark: SparkSession
    settings: Settings
    batch_events: int
    batches: int
    seconds: dict[str, dict[str, list[float]]] = field(
        default_factory=lambda: {lake: {kind: [] for kind in KINDS} for lake in ("small", "large")}
    )
    grown: dict[str, dt.datetime] = field(default_factory=dict)
    _seed: int = load.SEED

    def grow(self, lake: str, rows: int) -> int:
        """Fill the lake to about ``rows`` lines; how many there are."""
        events = int(rows / load.LINES_PER_EVENT)
        settings = lake_beside(self.settings, lake, f"benchmark-{lake}")
        self._send(settings, events, f"{lake} lake: events into Kafka", dt.timedelta(0))
        self.grown[lake] = _now()
        whole_ingest(self.spark, settings, events, f"{lake} lake: filled", minute_sales=False)
        return manifest(settings, TRANSACTIONS.silver_table).rows or 0

    def compare(self, kinds: Sequence[str]) -> None:
        """Drain each kind into either lake once, for each has code of its own to warm, and then to measure it."""
        for lake, kind in itertools.product(("small", "large"), kinds):
            self.drain(lake, kind)
        for lake, kind in itertools.product(_ROUNDS, kinds):
            self.seconds[lake][kind] += self.drain(lake, kind)

    def drain(self, lake: str, kind: str) -> list[float]:
        """Drain ``batches`` batches of the kind into the lake; the seconds of each."""
        settings = lake_beside(self.settings, lake, f"benchmark-{lake}").model_copy(
            update={"ingest_max_offsets_per_batch": self.batch_events}
        )
        events = self.batch_events * (self.batches + 1)
        age = _now() - self.grown[lake] if kind == "late_same_minutes" else _AGES.get(kind, dt.timedelta(0))
        self._send(settings, events, f"{lake} lake: {kind} events into Kafka", age)
        done = whole_ingest(self.spark, settings, events, f"{lake} lake: {kind} batches", minute_sales=False)
        return done.batch_seconds[1:]  # the first one loads the state and plans the queries

    def _send(self, settings: Settings, events: int, title: str, age: dt.timedelta) -> None:
        self._seed += 1
        load.preload(settings, events, title, lambda: _now() - age, self._seed)


def figures(seconds: dict[str, dict[str, list[float]]]) -> dict[str, Any]:
    """Median seconds of a batch by kind and lake, and large ÷ small by kind, of ``{lake: {kind: batch seconds}}``."""
    medians = {
        kind: {lake: round(statistics.median(seconds[lake][kind]), 3) for lake in ("small", "large")}
        for kind in seconds["small"]
    }
    return {
        "batch_seconds": medians,
        "ratio": {kind: round(of["large"] / of["small"], 2) for kind, of in medians.items()},
    }


def _forget() -> None:
    """Wait until every event_id so far has left Spark's state: it stays there for twice the horizon."""
    seconds = 2 * _HORIZON_MINUTES * 60 + 30
    with counted("seconds until what was remembered is forgotten", seconds) as told:
        for second in range(seconds):
            told(second)
            time.sleep(1)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _zone_of_noon() -> str:
    """A zone where it is about noon: so that three hours ago is the same business date, whenever this runs."""
    behind_utc = _now().hour - 12
    return f"Etc/GMT{behind_utc:+d}"
