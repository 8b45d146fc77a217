"""The retailer as it stands, and what it remembers while it trades."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict, deque
from dataclasses import dataclass, field
from heapq import heappush
from random import Random
from zoneinfo import ZoneInfo

from retail_platform.producer.message import Event
from retail_platform.producer.simulator.catalogue import Catalogue, make_catalogue
from retail_platform.producer.simulator.customers import Customers, sign_up
from retail_platform.producer.simulator.plan import Plan
from retail_platform.producer.simulator.stores import Store, open_stores, open_web_shop

_REMEMBERED_SALES = 200


@dataclass(frozen=True, slots=True)
class Retailer:
    """Stores, web shop, catalogue and customers: the same for every window of a seed."""

    stores: tuple[Store, ...]
    web: Store
    catalogue: Catalogue
    customers: Customers


@dataclass(frozen=True, slots=True, order=True)
class Planned:
    """An event that will happen at ``due`` (milliseconds since 1970): a transfer's arrival, a fraudster's purchase."""

    due: int
    order: int
    body: Event = field(compare=False)
    zone: ZoneInfo = field(compare=False)
    label: str = field(compare=False)
    pattern: str | None = field(compare=False, default=None)


def _recent_sales() -> defaultdict[str, deque[Event]]:
    return defaultdict(lambda: deque(maxlen=_REMEMBERED_SALES))


@dataclass(slots=True)
class Books:
    """What changes while the retailer trades. ``run`` sets the numbers of this window apart from any other's.

    ``stock`` holds units by (store id, product id), ``low`` what is to be ordered, ``recent`` the sales of a store that
    may yet be returned, ``planned`` a heap of what is still to happen, ``rested`` when a customer (by id) may shop again, in
    milliseconds since 1970.
    """

    random: Random
    run: str
    number: int = 0
    recent: defaultdict[str, deque[Event]] = field(default_factory=_recent_sales)
    stock: dict[tuple[str, str], int] = field(default_factory=dict)
    low: deque[tuple[str, str]] = field(default_factory=deque)
    planned: list[Planned] = field(default_factory=list)
    promotions: dict[int, dict[str, int]] = field(default_factory=dict)
    rested: dict[str, float] = field(default_factory=dict)

    def next_number(self) -> str:
        """A number that no other document of any window has."""
        self.number += 1
        return f"{self.run}{self.number:07d}"

    def plan(self, due: int, body: Event, zone: ZoneInfo, label: str, pattern: str | None = None) -> None:
        """Have an event happen at ``due``."""
        self.number += 1
        heappush(self.planned, Planned(due, self.number, body, zone, label, pattern))


def open_retailer(plan: Plan) -> Retailer:
    """The retailer that the plan's seed and sizes describe."""
    stores = open_stores(plan.stores, Random(f"{plan.seed}:stores"))
    return Retailer(
        stores,
        open_web_shop(stores),
        make_catalogue(plan.products, Random(f"{plan.seed}:catalogue")),
        sign_up(plan.customers, stores, Random(f"{plan.seed}:customers")),
    )


def open_books(plan: Plan) -> Books:
    """Empty books for the plan's window."""
    random = Random(f"{plan.seed}:{plan.start_ms}:trade")
    return Books(random, f"{random.getrandbits(32):08x}")


def stamped(body: Event, milliseconds: int, zone: ZoneInfo, random: Random) -> Event:
    """The event: its body with a version 7 UUID and the time on the store's own clock."""
    moment = dt.datetime.fromtimestamp(milliseconds / 1000, zone)
    return {
        "event_id": uuid7(milliseconds, random),
        "event_time": moment.isoformat(timespec="milliseconds"),
        **body,
    }


def uuid7(milliseconds: int, random: Random) -> str:
    """A UUID of version 7 (RFC 9562): the time, then 74 random bits."""
    bits = random.getrandbits(74)
    digits = f"{milliseconds:012x}7{bits >> 62:03x}{1 << 63 | bits & (1 << 62) - 1:016x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
