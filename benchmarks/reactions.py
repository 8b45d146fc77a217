"""How quick the reactions are: from a sale's own time to its alert and stock level read by another process."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import multiprocessing
import time
from collections import defaultdict
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any

from benchmarks import load
from benchmarks.figures import percentiles
from benchmarks.freshness import await_running, ingesting, streaming
from benchmarks.homes import broker
from benchmarks.processes import cpu_seconds
from benchmarks.progress import counted
from retail_platform import kafka
from retail_platform.contracts import FRAUD_ALERTS, STOCK_LEVELS
from retail_platform.reactions.applications import REACTIONS
from retail_platform.settings import Settings

_TOPICS = (FRAUD_ALERTS.topic, STOCK_LEVELS.topic)
_LEAD_SECONDS = 5.0
_TAIL_SECONDS = 60.0


def measure(rate: float, seconds: float, warm_up_seconds: float, *, beside: bool) -> dict[str, Any]:
    """Send ``rate`` sales a second; measure ``seconds`` after ``warm_up_seconds``, the ingest ``beside`` it or not.

    Figures by topic: p50, p95, p99 and max in seconds, from a sale's event_time, which is taken just before it is sent, to
    the moment when another process has read the committed result; how many results; CPU seconds of the reactions for each
    second that was measured.
    """
    with contextlib.ExitStack() as stack:
        settings = stack.enter_context(broker())
        kafka.ensure_topics(settings)
        if beside:
            stack.enter_context(ingesting(settings))
            await_running(settings)
        tree = stack.enter_context(
            streaming(settings, REACTIONS.name, "retail_platform.reactions.wiring.job", REACTIONS.name)
        )
        await_running(settings, REACTIONS.name)
        pool = stack.enter_context(ProcessPoolExecutor(1, multiprocessing.get_context("spawn")))
        begins = time.time() + _LEAD_SECONDS + warm_up_seconds
        sending = pool.submit(load.steady, settings, rate, _LEAD_SECONDS + warm_up_seconds + seconds)
        reader = _Reader(begins, begins + seconds)
        asyncio.run(reader.run(settings, sending))
        pids = [entry.pid for entry in tree.look()]
        cpu = cpu_seconds(pids)
        sent = sending.result()
    return {
        "parameters": {"rate": rate, "seconds": seconds, "warm_up_seconds": warm_up_seconds, "ingest_beside": beside},
        "figures": {
            "rate_sent": round(sent),
            "cpu_seconds": round(cpu, 1),
            "topics": {topic: _told(found) for topic, found in reader.latencies.items()},
        },
    }


def _told(latencies: list[float]) -> dict[str, Any]:
    shares = percentiles(latencies, 50, 95, 99)
    return {name: round(value, 3) for name, value in shares.items()} | {
        "max": round(max(latencies), 3),
        "results": len(latencies),
    }


class _Reader:
    """Another process's view of the topics: every committed result, and how old the sale behind it was by then."""

    def __init__(self, begins: float, ends: float) -> None:
        self.latencies: dict[str, list[float]] = defaultdict(list)
        self._begins, self._ends = begins, ends

    async def run(self, settings: Settings, sending: Future[float]) -> None:
        """Read until nothing of the measured time comes any more."""
        from aiokafka import AIOKafkaConsumer  # noqa: PLC0415

        options = {"isolation_level": "read_committed", "auto_offset_reset": "earliest", "fetch_max_wait_ms": 10}
        total = round(self._ends - time.time())
        with counted("seconds", total) as told:
            began = time.time()
            async with AIOKafkaConsumer(*_TOPICS, **kafka.client_options(settings), **options) as consumer:
                while not sending.done() or time.time() < self._ends + min(_TAIL_SECONDS, self._behind()):
                    batches = await consumer.getmany(timeout_ms=100)
                    now = time.time()
                    for place, records in batches.items():
                        for record in records:
                            self._note(place.topic, json.loads(record.value)["event_time"], now)
                    told(min(total, int(now - began)))

    def _behind(self) -> float:
        newest = [found[-1] for found in self.latencies.values() if found]
        return 2.0 + 2 * max(newest, default=0.0)

    def _note(self, topic: str, event_time: str, now: float) -> None:
        happened = dt.datetime.fromisoformat(event_time).timestamp()
        if self._begins <= happened < self._ends:
            self.latencies[topic].append(now - happened)
