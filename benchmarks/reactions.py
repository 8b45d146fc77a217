"""How quick the reactions are: from a sale's own time to its alert and stock level read by another process."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import itertools
import json
import multiprocessing
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks import load
from benchmarks.figures import percentiles
from benchmarks.freshness import await_running, ingesting, streaming
from benchmarks.homes import broker
from benchmarks.processes import Tree, cpu_seconds
from benchmarks.progress import counted, say
from retail_platform import kafka
from retail_platform.contracts import FRAUD_ALERTS, LIVE_METRICS, STOCK_LEVELS, TRANSACTIONS
from retail_platform.contracts.judge import judge
from retail_platform.errors import RetailError
from retail_platform.lakehouse.heartbeat import read_heartbeat
from retail_platform.reactions.applications import APPLICATIONS, MARKETING, METRICS, REACTIONS, ReactionApplication
from retail_platform.reactions.events import transaction
from retail_platform.reactions.fraud.features import MODEL_NAMES
from retail_platform.reactions.fraud.model import Model, versioned
from retail_platform.reactions.fraud.published import CURRENT, write
from retail_platform.reactions.outputs import rfc3339
from retail_platform.reactions.reading import records
from retail_platform.reactions.training.trees import exported, fitted
from retail_platform.settings import Settings

_MEASURED = {
    REACTIONS.name: (FRAUD_ALERTS.topic, STOCK_LEVELS.topic),
    METRICS.name: (LIVE_METRICS.topic,),
    MARKETING.name: (),
}
_QUIET_SECONDS = 5.0
_LOOK_SECONDS = 0.5
_MOST_SECONDS = 3600.0
_MIB = 1024**2
_HISTORY = dt.timedelta(days=20)
_NOISE = 0.01

#: Where the rate that one and two processes keep up with is searched: the first, and by how much more each next, a second.
_FIRST_RATE, _MORE_RATE, _HIGHEST_RATE = 400, 200, 3000
_KEPT_UP_SECONDS = 1.0


def steady(
    rate: float,
    seconds: float,
    warm_up_seconds: float,
    *,
    beside: bool,
    cards: int = 0,
    application: ReactionApplication = REACTIONS,
) -> dict[str, Any]:
    """Send ``rate`` sales a second; measure ``seconds`` after ``warm_up_seconds``, the ingest ``beside`` it or not.

    ``cards``: so many sales, each with another card, are taken in before. Figures: by topic p50, p95, p99 and max in seconds,
    from a sale's event_time, which is taken just before it is sent, to the moment when another process has read the committed
    result, and how many results; the application's CPU milliseconds a sale, its resident memory, and its state on disk.

    A live metric stands for several sales at once: there the results are the sales, and one is read when the cell of all sales
    of its minute counts it.
    """
    plan = [load.Phase(rate, warm_up_seconds), load.Phase(rate, seconds)]
    with _stage(beside=beside, cards=cards, applications=(application,)) as stage:
        figures = _steady(stage, plan)
    return {
        "parameters": {
            "rate": rate,
            "seconds": seconds,
            "warm_up_seconds": warm_up_seconds,
            "ingest_beside": beside,
            "cards_before": cards,
        },
        "figures": figures,
    }


def together(rate: float, seconds: float, warm_up_seconds: float, history: int) -> dict[str, Any]:
    """All applications and the ingest side by side, with a model that scores, after a ``history`` of so many sales.

    The history is of the last 20 days and of a small retailer: with 150,000 sales a stock knows some 80 changes of the last
    week and has enough of demand to be reordered, a card some 15 purchases. Figures: as of :func:`steady`, of all of them.
    """
    plan = [load.Phase(rate, warm_up_seconds, load.SMALL), load.Phase(rate, seconds, load.SMALL)]
    with _stage(beside=True, applications=APPLICATIONS, history=history) as stage:
        figures = _steady(stage, plan)
    return {
        "parameters": {
            "rate": rate,
            "seconds": seconds,
            "warm_up_seconds": warm_up_seconds,
            "history": history,
            "stocks": load.SMALL.stores * load.SMALL.products,
            "cards": load.SMALL.customers,
        },
        "figures": figures,
    }


def _steady(stage: _Stage, plan: Sequence[load.Phase]) -> dict[str, Any]:
    """The figures of the last phase of the plan."""
    sent, told, cpu = stage.play(plan)
    if LIVE_METRICS.topic in told:
        told[LIVE_METRICS.topic] = counted_sales(asyncio.run(_made(stage.settings)), told[LIVE_METRICS.topic])
    return {
        "rate_sent": round(sent[-1].rate),
        "cpu_ms_per_sale": round(cpu / sum(phase.count for phase in plan) * 1000, 2),
        "memory_mib": stage.memory_mib(),
        "state_mib": stage.state_mib(),
        "topics": {topic: _told(found.between(sent[-1])) for topic, found in told.items()},
    }


def burst(rate: float, high: float, seconds: float, after_seconds: float, *, beside: bool) -> dict[str, Any]:
    """Send ``rate`` sales a second for a minute and a half, ``high`` for ``seconds``, then ``rate`` for ``after_seconds``.

    Figures: the rates that were reached; p50 and p99 of the minute before and of the burst's own sales, by topic;
    seconds_to_normal, from the burst's end until 95 of 100 stock levels read in each second were as quick as 99 of 100 in the
    minute before, or half a second; how many stock levels there should be, and how many of them were lost.

    Raises:
        RetailError: ``after_seconds`` were not enough.
    """
    plan = [load.Phase(rate, 30), load.Phase(rate, 60), load.Phase(high, seconds), load.Phase(rate, after_seconds)]
    with _stage(beside=beside) as stage:
        sent, told, _ = stage.play(plan)
    _, before, during, after = sent
    levels = told[STOCK_LEVELS.topic]
    normal = max(percentiles(levels.between(before), 99)["p99"], _KEPT_UP_SECONDS / 2)
    last_slow = max((during.ended, *(second + 1.0 for second in levels.slow_seconds(normal))))
    if last_slow >= after.ended:
        raise RetailError(f"not as quick as before {after_seconds:.0f} s after the burst; raise --after-seconds")
    expected = sum(load.stock_changes(one) for one in sent)
    return {
        "parameters": {
            "rate": rate,
            "high": high,
            "seconds": seconds,
            "after_seconds": after_seconds,
            "ingest_beside": beside,
        },
        "figures": {
            "rate_before": round(before.rate),
            "rate_of_burst": round(during.rate),
            "before": {topic: _told(found.between(before)) for topic, found in told.items()},
            "burst": {topic: _told(found.between(during)) for topic, found in told.items()},
            "seconds_to_normal": round(last_slow - during.ended, 1),
            "stock_levels": expected,
            "lost": expected - len(levels.read),
        },
    }


def highest_rate(seconds: float) -> dict[str, Any]:
    """The highest rate at which the 99th percentile stays under a second, with one process and with two, without the ingest.

    The rate rises by 200 a second every ``seconds``, from 400. Figures by number of processes: the highest rate that was kept,
    and the p50 and p99 of every step, of stock levels.
    """
    return {
        "parameters": {"seconds": seconds, "first": _FIRST_RATE, "more": _MORE_RATE},
        "figures": {str(processes): _climbed(processes, seconds) for processes in (1, 2)},
    }


def _climbed(processes: int, seconds: float) -> dict[str, Any]:
    steps: dict[str, dict[str, float]] = {}
    kept = 0
    with _stage(beside=False, processes=processes) as stage:
        stage.play([load.Phase(_FIRST_RATE, seconds)])  # warm
        for rate in range(_FIRST_RATE, _HIGHEST_RATE, _MORE_RATE):
            (sent,), told, _ = stage.play([load.Phase(rate, seconds)])
            found = percentiles(told[STOCK_LEVELS.topic].between(sent), 50, 99)
            steps[str(rate)] = {name: round(value, 3) for name, value in found.items()} | {"sent": round(sent.rate)}
            if found["p99"] >= _KEPT_UP_SECONDS:
                break
            kept = rate
    return {"highest_rate": kept, "steps": steps}


@dataclass
class Results:
    """The results of one topic in the order in which they were read.

    ``latencies`` in seconds; ``happened`` and ``read`` in seconds since 1970: when the sale was made, and its result read.
    ``minutes``, of live metrics: by minute (its start), when its cell of all sales was read, and how many it counted.
    """

    happened: list[float] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    read: list[float] = field(default_factory=list)
    minutes: dict[str, list[tuple[float, int]]] = field(default_factory=dict)

    def note(self, happened: float, read: float) -> None:
        """One more result."""
        self.happened.append(happened)
        self.latencies.append(read - happened)
        self.read.append(read)

    def between(self, sent: load.Sent) -> list[float]:
        """The latencies of the sales of that phase."""
        pairs = zip(self.happened, self.latencies, strict=True)
        return [latency for happened, latency in pairs if sent.began <= happened < sent.ended]

    def slow_seconds(self, most: float) -> Iterator[int]:
        """The seconds (since 1970) in which more than one in twenty of the results that were read had taken longer."""
        seconds: defaultdict[int, list[bool]] = defaultdict(list)
        for read, latency in zip(self.read, self.latencies, strict=True):
            seconds[int(read)].append(latency > most)
        return (second for second, slow in seconds.items() if sum(slow) * 20 > len(slow))


@dataclass
class _Stage:
    """The reactions running, and what is sent to them."""

    settings: Settings
    applications: Sequence[ReactionApplication]
    processes: tuple[tuple[Settings, Tree], ...]
    pool: ProcessPoolExecutor

    def play(self, plan: Sequence[load.Phase]) -> tuple[list[load.Sent], dict[str, Results], float]:
        """Send what was planned: what was sent, its results by topic, and the reactions' CPU seconds meanwhile."""
        before = self._cpu_seconds()
        reader = _Reader(self.settings, [topic for one in self.applications for topic in _MEASURED[one.name]])
        total = round(sum(phase.seconds for phase in plan))
        with counted(f"{', '.join(f'{phase.rate:,.0f}/s' for phase in plan)}: seconds", total) as told:
            sent = asyncio.run(reader.run(lambda: self.pool.submit(load.phases, self.settings, plan), told))
        return sent, reader.results, self._cpu_seconds() - before

    def _cpu_seconds(self) -> float:
        return sum(cpu_seconds(entry.pid for entry in tree.look()) for _, tree in self.processes)

    def memory_mib(self) -> int:
        """The resident memory of the reactions' processes."""
        return round(sum(entry.rss_bytes for _, tree in self.processes for entry in tree.look()) / _MIB)

    def state_mib(self) -> int:
        """Their state on disk."""
        folders = [settings.reactions_dir for settings, _ in self.processes]
        files = (file for folder in folders for file in folder.rglob("*") if file.is_file())
        return round(sum(file.stat().st_size for file in files) / _MIB)


@contextlib.contextmanager
def _stage(
    *,
    beside: bool,
    processes: int = 1,
    cards: int = 0,
    history: int = 0,
    applications: Sequence[ReactionApplication] = (REACTIONS,),
) -> Iterator[_Stage]:
    """``processes`` of each application on a broker; ``history``: so many sales of the 20 days before, and a model."""
    with contextlib.ExitStack() as stack:
        settings = stack.enter_context(broker())
        kafka.ensure_topics(settings)
        if cards:
            load.preload(settings, cards, "sales before, each with another card")
        if history:
            load.preload(settings, history, "sales of the last 20 days", _days_past(history), of=load.SMALL)
            write(settings.fraud_models_dir / CURRENT, _model())
        if beside:
            stack.enter_context(ingesting(settings))
            await_running(settings)
        homes = [settings] + [
            settings.model_copy(update={"retail_home": settings.retail_home / f"process-{number}"})
            for number in range(2, processes + 1)
        ]
        trees = []
        for home, application in itertools.product(homes, applications):
            job = (application.name, "retail_platform.reactions.wiring.job", application.name)
            trees.append((home, stack.enter_context(streaming(home, *job))))
            await_running(home, application.name)
        for application in applications:
            _await_taken(homes, application, cards or history)
        pool = stack.enter_context(ProcessPoolExecutor(1, multiprocessing.get_context("spawn")))
        yield _Stage(settings, applications, tuple(trees), pool)


def _days_past(count: int) -> load.Clock:
    """A clock that comes from 20 days ago to now in ``count`` looks."""
    began, ticks = dt.datetime.now(dt.UTC) - _HISTORY, itertools.count()
    return lambda: began + _HISTORY * next(ticks) / count


def _model() -> Model:
    """A forest of the size that is trained, on noise: what it costs to score, and alerts of its own now and then."""
    random = np.random.default_rng(0)
    features = random.uniform(0, 100, (20_000, len(MODEL_NAMES)))
    return versioned("2026-01-01", 0.5, exported(fitted(features, random.uniform(0, 1, 20_000) < _NOISE)), {}, {})


def _await_taken(homes: Sequence[Settings], application: ReactionApplication, sales: int) -> None:
    """Wait until an application has taken in the sales that were there, and has had nothing to do for a while."""
    if not sales:
        return
    rows, since, began = -1, time.monotonic(), time.monotonic()
    with counted(f"records taken in by {application.name}", sales * 4) as told:
        while time.monotonic() - since < _QUIET_SECONDS or rows < sales:
            beats = [read_heartbeat(home, application.name) for home in homes]
            now = sum(query.rows for beat in beats if beat is not None for query in beat.queries)
            if now != rows:
                rows, since = now, time.monotonic()
            told(rows)
            if time.monotonic() - began > _MOST_SECONDS:
                raise RetailError(
                    f"{application.name} did not take in {sales:,} sales in {_MOST_SECONDS:.0f} s; ask for fewer"
                )
            time.sleep(_LOOK_SECONDS)
    say(f"{rows:,} records taken in")


class _Reader:
    """Another process's view of the topics: every committed result, and how old the sale behind it was by then."""

    def __init__(self, settings: Settings, topics: Sequence[str]) -> None:
        self.results: dict[str, Results] = defaultdict(Results)
        self._settings = settings
        self._topics = topics
        self._last = time.time()

    async def run(self, send: Callable[[], Future[list[load.Sent]]], told: Callable[[int], None]) -> list[load.Sent]:
        """Read what comes from now on, until all is sent and nothing has come for a while; what was sent."""
        from aiokafka import AIOKafkaConsumer  # noqa: PLC0415

        options = {"isolation_level": "read_committed", "fetch_max_wait_ms": 10}
        async with AIOKafkaConsumer(*self._topics, **kafka.client_options(self._settings), **options) as consumer:
            await consumer.seek_to_end()
            began, sending = time.time(), send()
            while not sending.done() or time.time() < self._last + _QUIET_SECONDS:
                batches = await consumer.getmany(timeout_ms=100)
                now = time.time()
                for place, records in batches.items():
                    self._last = now
                    for record in records:
                        _note(self.results[place.topic], json.loads(record.value), now)
                told(int(now - began))
        return sending.result()


def _note(results: Results, said: dict[str, Any], now: float) -> None:
    results.note(dt.datetime.fromisoformat(said["event_time"]).timestamp(), now)
    if (said.get("grain"), said.get("dimension")) == ("minute", "all"):
        results.minutes.setdefault(said["window_start"], []).append((now, said["orders"]))


def counted_sales(made: Sequence[dt.datetime], told: Results) -> Results:
    """Each sale that was ``made``, and when the cell of its minute was first read with a count that has it."""
    found = Results()
    minutes: defaultdict[str, list[float]] = defaultdict(list)
    for moment in made:
        minutes[rfc3339(moment.replace(second=0, microsecond=0))].append(moment.timestamp())
    for minute, counts in told.minutes.items():
        sales = iter(sorted(minutes[minute]))
        seen = 0
        for read, count in counts:
            for happened in itertools.islice(sales, count - seen):
                found.note(happened, read)
            seen = max(seen, count)
    return found


async def _made(settings: Settings) -> list[dt.datetime]:
    """The event_time of every valid sale that was sent."""
    start, zone = settings.partitions_start_date, settings.business_timezone
    async with contextlib.aclosing(records(settings, TRANSACTIONS.topic, "start", to_end=True)) as sent:
        found = [
            judge(TRANSACTIONS, record.value, dt.datetime.fromtimestamp(record.timestamp / 1000, dt.UTC), zone, start)
            async for record in sent
        ]
    return [transaction(one.event).event_time for one in found if one.event is not None]


def _told(latencies: list[float]) -> dict[str, Any]:
    shares = percentiles(latencies, 50, 95, 99)
    return {name: round(value, 3) for name, value in shares.items()} | {
        "max": round(max(latencies), 3),
        "results": len(latencies),
    }
