"""The load: sales of about 400 bytes, made fast from a seed, into Kafka at full speed or at a steady rate."""

from __future__ import annotations

import datetime as dt
import json
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.progress import counted
from retail_platform import kafka
from retail_platform.contracts import TRANSACTIONS
from retail_platform.errors import RetailError
from retail_platform.producer.message import Message
from retail_platform.producer.send import send
from retail_platform.settings import Settings

POISON = 0.01
#: Events have one and two lines in turn.
LINES_PER_EVENT = 1.5
SEED = 2010
_SAMPLE = 10_000
# Each card once, then all of them again.
_STRIDE = 7_919
# One sale in so many is with one of a few stolen cards, so that there are alerts at all.
_STOLEN_EVERY, _STOLEN = 100, 50

Clock = Callable[[], dt.datetime]


@dataclass(frozen=True, slots=True)
class Retailer:
    """How many there are of each; every store sells every product, and every customer has a card."""

    stores: int
    customers: int
    products: int


#: A million cards, and 200,000 products in stores.
LARGE = Retailer(stores=50, customers=1_000_000, products=4_000)
#: Few enough that a history of minutes makes each state as full as months make a large one's: 1,000 products in stores.
SMALL = Retailer(stores=10, customers=10_000, products=100)


def sales(clock: Clock, seed: int = SEED, poison: float = POISON, of: Retailer = LARGE) -> Iterator[Message]:
    """Sales without end, of one and two lines in turn, their event_time told by ``clock``; a share of them broken."""
    rng = random.Random(seed)  # noqa: S311  (reproducible, not secret)
    number = 0
    while True:
        number += 1
        value = _sale(number, clock(), rng, of)
        bad = rng.random() < poison
        if bad:
            value = _broken(value, number)
        key = f"T{number:012d}".encode()
        yield Message(TRANSACTIONS.topic, key, value.encode(), TRANSACTIONS.schema, "poison" if bad else "sale")


def mean_bytes() -> int:
    """The mean size of an event's value."""
    return round(statistics.mean(len(message.value or b"") for message in _first(sales(_now), _SAMPLE)))


def preload(
    settings: Settings, count: int, title: str, clock: Clock | None = None, seed: int = SEED, of: Retailer = LARGE
) -> None:
    """Create the topics and send ``count`` sales, their event_time now unless ``clock`` tells another.

    Raises:
        RetailError: Kafka did not take every one.
    """
    kafka.ensure_topics(settings)
    messages = _first(sales(clock or _now, seed, of=of), count)
    with counted(title, count) as told:
        report = send(settings, messages, on_progress=told)
    if report.acknowledged != count:
        raise RetailError(f"Kafka took {report.acknowledged} of {count} events: {'; '.join(report.refused)}")


@dataclass(frozen=True, slots=True)
class Phase:
    """``rate`` sales a second for ``seconds``."""

    rate: float
    seconds: float
    of: Retailer = LARGE

    @property
    def count(self) -> int:
        """How many that is."""
        return int(self.rate * self.seconds)


@dataclass(frozen=True, slots=True)
class Sent:
    """What was sent: ``count`` sales of a ``seed``, from ``began`` to ``ended`` (seconds since 1970), at that ``rate``."""

    of: Retailer
    seed: int
    count: int
    began: float
    ended: float
    rate: float


def steady(settings: Settings, rate: float, seconds: float) -> float:
    """Send sales that happen now, ``rate`` a second for ``seconds``; the rate that was reached."""
    (sent,) = phases(settings, [Phase(rate, seconds)])
    return sent.rate


def phases(settings: Settings, plan: Sequence[Phase]) -> list[Sent]:
    """Send sales that happen now, phase by phase."""
    done = []
    for phase in plan:
        seed, began = time.time_ns(), time.time()
        report = send(settings, _first(sales(_now, seed, of=phase.of), phase.count), rate=phase.rate)
        done.append(Sent(phase.of, seed, phase.count, began, time.time(), report.rate))
    return done


def stock_changes(sent: Sent) -> int:
    """How many stock levels those sales change: one for each product of a valid sale."""
    valid = (message for message in _first(sales(_now, sent.seed, of=sent.of), sent.count) if message.label != "poison")
    return sum(len({item["product_id"] for item in json.loads(message.value or b"")["items"]}) for message in valid)


def _first(messages: Iterator[Message], count: int) -> Iterator[Message]:
    return (next(messages) for _ in range(count))


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _sale(number: int, moment: dt.datetime, rng: random.Random, of: Retailer) -> str:
    customer = number * _STRIDE % of.customers
    card = customer if number % _STOLEN_EVERY else of.customers + rng.randrange(_STOLEN)
    identity = f"{rng.getrandbits(128):032x}"
    event_id = f"{identity[:8]}-{identity[8:12]}-{identity[12:16]}-{identity[16:20]}-{identity[20:]}"
    event_time = f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"
    channel = "pos" if number % 4 else "ecommerce"
    items = ",".join(_item(rng, of) for _ in range(1 + number % 2))
    return (
        f'{{"event_id":"{event_id}","event_type":"sale","transaction_id":"T{number:012d}","event_time":"{event_time}",'
        f'"channel":"{channel}","store_id":"S{customer % of.stores:03d}","customer_id":"C{customer:06d}",'
        f'"payment":{{"method":"card","card_token":"tok_{card:07d}"}},"location":{{"country":"UK"}},'
        f'"currency":"GBP","items":[{items}]}}'
    )


def _item(rng: random.Random, of: Retailer) -> str:
    return (
        f'{{"product_id":"P{rng.randrange(of.products):05d}","quantity":{rng.randrange(1, 4)},'
        f'"unit_price":"{rng.randrange(1, 200)}.{rng.randrange(100):02d}","discount":"0.00"}}'
    )


def _broken(value: str, number: int) -> str:
    """One of four faults, in turn: a field missing, a value out of range, one that is not listed, JSON cut off."""
    match number % 4:
        case 0:
            return value.replace('"store_id"', '"shop"')
        case 1:
            return value.replace('"quantity":', '"quantity":-')
        case 2:
            return value.replace('"GBP"', '"XXQ"')
        case _:
            return value[:-1]


def parameters(settings: Settings, events: int) -> dict[str, Any]:
    """What a drain of ``events`` preloaded events is told in the results."""
    return {
        "events": events,
        "event_bytes": mean_bytes(),
        "poison": POISON,
        "max_offsets_per_batch": settings.ingest_max_offsets_per_batch,
    }
