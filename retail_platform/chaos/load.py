"""The load of a chaos run: the simulated retailer, live, with many twins, many overtaken and some broken records."""

from __future__ import annotations

import datetime as dt
import json
import threading
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from heapq import heappop, heappush
from random import Random

from retail_platform.chaos.ledger import Ledger, open_ledger
from retail_platform.errors import RetailError
from retail_platform.producer import message as record
from retail_platform.producer.message import Event, Message
from retail_platform.producer.send import send
from retail_platform.producer.simulator import Plan, simulate
from retail_platform.settings import Settings

# Of the reactions: simulated fraud, so that there are alerts; and every so many messages one of a shelf that runs out.
_FRAUD = 0.02
_SHELF_EVERY = 45
_SHELF_DAYS = 16
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "chaos.retail-platform")

_LONGEST = dt.timedelta(hours=6)
_LATE_TWINS = 0.3
_TWIN_AFTER = (100, 5_000)
# A broker that was killed comes back in seconds; a whole schedule of such must not end the load.
_PATIENCE_SECONDS = 300.0


def plan(seed: int, rate: float, duration: dt.timedelta = _LONGEST, *, reactions: bool = False) -> Plan:
    """The retailer: 10 % sent twice, 20 % overtaken, 1 % broken, 3 % hours late, at ``rate`` events a second.

    Where ``reactions`` look, 2 % are simulated fraud.
    """
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
        fraud=_FRAUD if reactions else 0.0,
    )


def messages(
    seed: int, rate: float, duration: dt.timedelta = _LONGEST, *, reactions: bool = False
) -> Iterator[Message]:
    """The plan's messages; some of the late ones have a twin too, which the stream's state may have forgotten.

    Where ``reactions`` look, shelves run out among them: no reorder is due without weeks of demand.
    """
    found = _with_late_twins(simulate(plan(seed, rate, duration, reactions=reactions)), Random(f"{seed}:late twins"))
    return _with_shelves(found, seed) if reactions else found


class Load:
    """The producer at work in a thread of its own; ``ledger.count`` tells how many records Kafka has acknowledged."""

    def __init__(self, settings: Settings, ledger: Ledger, seed: int, rate: float, *, reactions: bool) -> None:
        self.ledger = ledger
        self._settings = settings
        self._messages = messages(seed, rate, reactions=reactions)
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
def running_load(settings: Settings, seed: int, rate: float, *, reactions: bool = False) -> Iterator[Load]:
    """The load, from the start of the block; ended at its end, unless that was done before."""
    with open_ledger(settings) as ledger:
        load = Load(settings, ledger, seed, rate, reactions=reactions)
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


def _with_shelves(source: Iterable[Message], seed: int) -> Iterator[Message]:
    """Between the messages, one shelf after the other: it is counted, and a sale a day for weeks empties it."""
    shelf: list[Message] = []
    shelves = 0
    for position, message in enumerate(source, start=1):
        yield message
        if position % _SHELF_EVERY:
            continue
        if not shelf and message.label == "transaction" and message.value is not None:
            event = json.loads(message.value)
            if event["event_type"] == "sale":
                shelves += 1
                shelf = list(_shelf(event, f"{seed}-{shelves}"))
        if shelf:
            yield replace(shelf.pop(0), due=message.due)


def _shelf(sale: Event, name: str) -> Iterator[Message]:
    """A shelf of a store of its own, of as many units as are sold of it; the sales are of the days before a sale."""
    store, product = f"SHELF-{name}", "P00001"
    of = {"store_id": store, "product_id": product, "reference": None}
    sold = dt.datetime.fromisoformat(str(sale["event_time"])).astimezone(dt.UTC)
    items = [{"product_id": product, "quantity": 2, "unit_price": "4.99", "discount": "0.00"}]
    for day in range(_SHELF_DAYS + 1):
        at = (sold - dt.timedelta(days=_SHELF_DAYS - day, hours=1)).isoformat(timespec="milliseconds")
        event: Event = {"event_id": str(uuid.uuid5(_NAMESPACE, f"{name}:{day}")), "event_time": at}
        if day == 0:
            yield record.movement(of | event | {"movement": "count", "quantity": 2 * _SHELF_DAYS}, "movement", 0)
        else:
            number = {"transaction_id": f"T-{name}-{day}", "fulfilment_store_id": None}
            yield record.transaction(sale | number | event | {"store_id": store, "items": items}, "transaction", 0)
