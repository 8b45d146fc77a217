"""How the ingest's drain grows with cores and with Kafka's partitions, in one JVM and in both orders."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from benchmarks import load
from benchmarks.figures import median_ratio
from benchmarks.homes import broker, lake_beside
from benchmarks.streams import Pass, remove, session, whole_ingest
from retail_platform import kafka
from retail_platform.contracts import TRANSACTIONS
from retail_platform.settings import Settings

CORES = (1, 2)
PARTITIONS = (1, 4)

#: Cores of Spark, partitions of the topic.
Shape = tuple[int, int]


def measure(events: int = 300_000, warm_up_seconds: float = 90) -> dict[str, Any]:
    """Drain ``events`` from topics of each number of partitions, by Spark with each number of cores.

    Figures, by ``<cores> cores, <partitions> partitions``: rate (events/s) and cpu_per_million (CPU seconds) of each pass;
    cores_ratio and partitions_ratio: the rate of the most ÷ that of the fewest, the other at its most.
    """
    shapes = [(cores, partitions) for cores in CORES for partitions in PARTITIONS]
    passes: dict[Shape, list[Pass]] = {shape: [] for shape in shapes}
    with broker() as settings:
        for partitions in PARTITIONS:
            there = lake_beside(settings, "", _topic(partitions))
            kafka.ensure_topics(there, [replace(TRANSACTIONS.named(_topic(partitions)), partitions=partitions)])
            load.preload(there, events, f"events into {partitions} partitions")
        _warm_up(settings, events, warm_up_seconds)
        for order in (shapes, shapes[::-1]):
            for shape in order:
                passes[shape].append(_drain(settings, shape, events))
    return {
        "parameters": load.parameters(settings, events),
        "figures": figures(passes),
    }


def figures(passes: dict[Shape, list[Pass]]) -> dict[str, Any]:
    """The figures of ``{shape: its passes in turn}``."""
    rates = {shape: [round(one.rate) for one in of] for shape, of in passes.items()}
    cores, partitions = CORES[-1], PARTITIONS[-1]
    return {
        "rate": {_words(shape): of for shape, of in rates.items()},
        "cpu_per_million": {
            _words(shape): [round(one.cpu_per_million, 1) for one in of] for shape, of in passes.items()
        },
        "cores_ratio": round(median_ratio(rates[cores, partitions], rates[CORES[0], partitions]), 2),
        "partitions_ratio": round(median_ratio(rates[cores, partitions], rates[cores, PARTITIONS[0]]), 2),
    }


def _warm_up(settings: Settings, events: int, seconds: float) -> None:
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        _drain(settings, (CORES[-1], PARTITIONS[-1]), events)


def _drain(settings: Settings, shape: Shape, events: int) -> Pass:
    cores, partitions = shape
    there = lake_beside(settings, f"lake-{time.monotonic_ns()}", _topic(partitions))
    there = there.model_copy(update={"spark_master": f"local[{cores}]"})
    spark = session(there)
    try:
        return whole_ingest(spark, there, events, _words(shape), minute_sales=False)
    finally:
        spark.stop()
        remove(there)


def _topic(partitions: int) -> str:
    return f"benchmark-{partitions}"


def _words(shape: Shape) -> str:
    return f"{shape[0]} cores, {shape[1]} partitions"
