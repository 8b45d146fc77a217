"""The load of a chaos run: the simulated retailer, live, with many twins, many overtaken and some broken records."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from heapq import heappop, heappush
from random import Random

from retail_platform.chaos.ledger import Ledger, open_ledger
from retail_platform.errors import RetailError
from retail_platform.producer.message import Message
from retail_platform.producer.send import send
from retail_platform.producer.simulator import Plan, simulate
from retail_platform.settings import Settings

_LONGEST = dt.timedelta(hours=6)
_LATE_TWINS = 0.3
_TWIN_AFTER = (100, 5_000)
# A broker that was killed comes back in seconds; a whole schedule of such must not end the load.
_PATIENCE_SECONDS = 300.0


def plan(seed: int, rate: float, duration: dt.timedelta = _LONGEST) -> Plan:
    """The retailer: 10 % sent twice, 20 % overtaken, 1 % broken, 3 % hours late, at ``rate`` events a second."""
    return Plan(
        start=dt.datetime.now(dt.UTC),
        duration=duration,
        rate=rate,
        live=True,
        seed=seed,
        duplicates=0.10,
        out_of_order=0.20,
        malformed=0.01,
        late=0.03,
    )


def messages(seed: int, rate: float, duration: dt.timedelta = _LONGEST) -> Iterator[Message]:
    """The plan's messages; some of the late ones have a twin too, which the stream's state may have forgotten."""
    return _with_late_twins(simulate(plan(seed, rate, duration)), Random(f"{seed}:late twins"))


class Load:
    """The producer at work in a thread of its own; ``ledger.count`` tells how many records Kafka has acknowledged."""

    def __init__(self, settings: Settings, ledger: Ledger, seed: int, rate: float) -> None:
        self.ledger = ledger
        self._settings = settings
        self._messages = messages(seed, rate)
        self._stop = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def end(self) -> None:
        """Send no more, and wait until Kafka has acknowledged what was sent.

        Raises:
            RetailError: Kafka refused records, or went away for good.
        """
        self._stop.set()
        self._thread.join()
        if self._failure is not None:
            raise RetailError(f"the load failed: {self._failure}; the run proves nothing") from self._failure

    def _run(self) -> None:
        try:
            report = send(
                self._settings,
                self._until_stopped(),
                speed=1,
                on_acknowledged=self.ledger.acknowledged,
                delivery_timeout=_PATIENCE_SECONDS,
            )
            if report.failed:
                raise RetailError(f"{report.failed} records refused: {'; '.join(report.refused)}")  # noqa: TRY301
        except Exception as error:  # noqa: BLE001  (it is raised where the load is ended)
            self._failure = error

    def _until_stopped(self) -> Iterator[Message]:
        for message in self._messages:
            if self._stop.is_set():
                return
            yield message


@contextmanager
def running_load(settings: Settings, seed: int, rate: float) -> Iterator[Load]:
    """The load, from the start of the block; ended at its end, unless that was done before."""
    with open_ledger(settings) as ledger:
        load = Load(settings, ledger, seed, rate)
        load.start()
        yield load
        load.end()


def _with_late_twins(source: Iterable[Message], random: Random) -> Iterator[Message]:
    held: list[tuple[int, int, Message]] = []
    for position, message in enumerate(source):
        yield message
        if message.label == "late" and random.random() < _LATE_TWINS:
            heappush(held, (position + random.randint(*_TWIN_AFTER), position, message))
        while held and held[0][0] <= position:
            yield heappop(held)[2]
