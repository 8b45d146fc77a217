"""How fast a preloaded topic is drained: the whole ingest beside two minimal streams, warm and in both orders."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pyspark.sql import SparkSession

from benchmarks import load
from benchmarks.figures import median_ratio
from benchmarks.homes import broker, lake_beside
from benchmarks.streams import STREAMS, Pass, remove, session
from retail_platform.settings import Settings

WARM_UP_SHARE = 5
_TOPIC, _WARM_UP_TOPIC = "benchmark", "benchmark-warm-up"


def measure(events: int = 1_000_000, warm_up_seconds: float = 90) -> dict[str, Any]:
    """Drain ``events`` with each stream in the order A B C, then C B A; after at least ``warm_up_seconds`` of drains.

    Figures: rate (events/s), cpu_per_million (CPU seconds) and minute_sales_seconds by stream and pass; ratios.
    """
    with broker() as settings:
        load.preload(lake_beside(settings, "", _TOPIC), events, "events into Kafka")
        warm_up_events = max(events // WARM_UP_SHARE, 1)
        load.preload(lake_beside(settings, "", _WARM_UP_TOPIC), warm_up_events, "events to warm up")
        spark = session(settings)
        try:
            runner = Runner(spark, settings)
            rounds = runner.warm_up(warm_up_events, warm_up_seconds)
            for order in (tuple(STREAMS), tuple(reversed(STREAMS))):
                for name in order:
                    runner.run(name, _TOPIC, events)
        finally:
            spark.stop()
    return {
        "parameters": load.parameters(settings, events)
        | {
            "warm_up_events": warm_up_events,
            "warm_up_rounds": rounds,
            "driver_memory": settings.spark_driver_memory,
        },
        "figures": figures(runner.passes),
    }


@dataclass
class Runner:
    """Passes of the three streams in one JVM, each into a lake of its own that is removed afterwards."""

    spark: SparkSession
    settings: Settings
    passes: dict[str, list[Pass]] = field(default_factory=lambda: {name: [] for name in STREAMS})
    _number: int = 0

    def warm_up(self, events: int, seconds: float) -> int:
        """Drain the small topic with each stream, round after round, for at least ``seconds``; how many rounds."""
        began, rounds = time.monotonic(), 0
        while time.monotonic() - began < seconds:
            rounds += 1
            for name in STREAMS:
                self._drain(name, _WARM_UP_TOPIC, events, f"warm-up {rounds}: {name}")
        return rounds

    def run(self, name: str, topic: str, events: int) -> None:
        """One measured pass."""
        number = len(self.passes[name]) + 1
        self.passes[name].append(self._drain(name, topic, events, f"pass {number}: {name}"))

    def _drain(self, name: str, topic: str, events: int, title: str) -> Pass:
        self._number += 1
        lake = lake_beside(self.settings, f"lake-{self._number}", topic)
        done = STREAMS[name](self.spark, lake, events, title)
        remove(lake)
        return done


def figures(passes: dict[str, list[Pass]]) -> dict[str, Any]:
    """The figures of ``{stream: its passes in turn}``."""
    rates = {name: [round(one.rate) for one in of] for name, of in passes.items()}
    minutes = [one.minute_sales_seconds for one in passes["whole_ingest"] if one.minute_sales_seconds is not None]
    return {
        "rate": rates,
        "cpu_per_million": {name: [round(one.cpu_per_million, 1) for one in of] for name, of in passes.items()},
        "whole_to_parse": _ratio(rates, "parse_only"),
        "whole_to_append": _ratio(rates, "append_only"),
        "minute_sales_seconds": round(statistics.median(minutes), 1),
    }


def _ratio(rates: dict[str, list[int]], other: str) -> float:
    whole: Sequence[float] = rates["whole_ingest"]
    return round(median_ratio(whole, rates[other]), 3)
