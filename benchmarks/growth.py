"""What a micro-batch costs as silver grows: the same batches on a small lake and on a large one, in one JVM.

Three kinds of batch: events on time; late events, which are looked up in silver, of another business date; and late
ones of the very date that has grown, the worst there is.
"""

from __future__ import annotations

import datetime as dt
import itertools
import statistics
from dataclasses import dataclass, field
from typing import Any

from pyspark.sql import SparkSession

from benchmarks import load
from benchmarks.homes import broker, lake_beside
from benchmarks.streams import session, whole_ingest
from retail_platform.contracts import TRANSACTIONS
from retail_platform.lakehouse.manifest import manifest
from retail_platform.settings import Settings

_KINDS = {
    "on_time": dt.timedelta(0),
    "late_other_day": dt.timedelta(days=3),
    "late_same_day": dt.timedelta(hours=3),
}
_ROUNDS = ("small", "large", "large", "small")


def measure(
    small_rows: int = 200_000, large_rows: int = 5_000_000, batch_events: int = 2_000, batches: int = 12
) -> dict[str, Any]:
    """Time ``batches`` batches of ``batch_events`` of each kind on lakes of ``small_rows`` and ``large_rows`` lines.

    The lakes are filled by the ingest itself, which also warms the JVM; then small, large, large, small. Figures: rows
    of each lake, the median seconds of a batch by kind and lake (first batch of each drain left out), the ratios.
    """
    with broker() as base:
        settings = base.model_copy(update={"business_timezone": _zone_of_noon()})
        spark = session(settings)
        try:
            runner = _Runner(spark, settings, batch_events, batches)
            rows = {"small": runner.grow("small", small_rows), "large": runner.grow("large", large_rows)}
            for kind in _KINDS:
                runner.drain("small", kind)  # each kind has code of its own to warm
            for lake, kind in itertools.product(_ROUNDS, _KINDS):
                runner.seconds[lake][kind] += runner.drain(lake, kind)
        finally:
            spark.stop()
    return {
        "parameters": {
            "small_rows": small_rows,
            "large_rows": large_rows,
            "batch_events": batch_events,
            "batches": batches,
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
        default_factory=lambda: {lake: {kind: [] for kind in _KINDS} for lake in ("small", "large")}
    )
    _seed: int = load.SEED

    def grow(self, lake: str, rows: int) -> int:
        """Fill the lake to about ``rows`` lines; how many there are."""
        events = int(rows / load.LINES_PER_EVENT)
        settings = lake_beside(self.settings, lake, f"benchmark-{lake}")
        self._send(settings, events, f"{lake} lake: events into Kafka", dt.timedelta(0))
        whole_ingest(self.spark, settings, events, f"{lake} lake: filled", minute_sales=False)
        return manifest(settings, TRANSACTIONS.silver_table).rows or 0

    def drain(self, lake: str, kind: str) -> list[float]:
        """Drain ``batches`` batches of the kind into the lake; the seconds of each."""
        settings = lake_beside(self.settings, lake, f"benchmark-{lake}").model_copy(
            update={"ingest_max_offsets_per_batch": self.batch_events}
        )
        events = self.batch_events * (self.batches + 1)
        self._send(settings, events, f"{lake} lake: {kind} events into Kafka", _KINDS[kind])
        done = whole_ingest(self.spark, settings, events, f"{lake} lake: {kind} batches", minute_sales=False)
        return done.batch_seconds[1:]  # the first one loads the state and plans the queries

    def _send(self, settings: Settings, events: int, title: str, age: dt.timedelta) -> None:
        self._seed += 1
        load.preload(settings, events, title, lambda: dt.datetime.now(dt.UTC) - age, self._seed)


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


def _zone_of_noon() -> str:
    """A zone where it is about noon: so that three hours ago is the same business date, whenever this runs."""
    behind_utc = dt.datetime.now(dt.UTC).hour - 12
    return f"Etc/GMT{behind_utc:+d}"
