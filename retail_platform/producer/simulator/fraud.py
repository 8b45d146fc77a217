"""Labelled fraud: what a fraudster does with a card, planned as a pattern of a few purchases.

* card testing: 10 to 18 small amounts over several stores, within 10 minutes
* velocity: 8 to 14 ordinary purchases of one card in one store, within 5 minutes
* impossible travel: one card at the tills of two stores over 800 km apart, within an hour
* unusual amount: one purchase of many times what the customer ever pays
"""

from __future__ import annotations

import json
from collections.abc import Callable

from retail_platform.producer.message import Event, Message
from retail_platform.producer.simulator.customers import new_card
from retail_platform.producer.simulator.retailer import Books, Retailer
from retail_platform.producer.simulator.sales import basket, line, money, receipt
from retail_platform.producer.simulator.stores import Store, kilometres

_MINUTE_MS = 60_000
_FAR_KM = 800.0
_LONGEST = 18
_LOOKED_AT = 50
_PREFIX = "fraud:"

Purchase = tuple[float, Store, Event]
"""(share of the pattern's span that has passed, store, body)"""


def kinds(retailer: Retailer) -> tuple[str, ...]:
    """The patterns that this retailer's stores allow."""
    return tuple(kind for kind in _PATTERNS if kind != "impossible_travel" or _far_from(retailer.stores[0], retailer))


def mean_events(names: tuple[str, ...]) -> float:
    """How many events a pattern has on average, the kinds taken in turn."""
    return sum(_PATTERNS[name][1] for name in names) / len(names)


def plan_pattern(kind: str, retailer: Retailer, books: Books, milliseconds: int, until: int) -> None:
    """Plan a pattern that begins now and is over before ``until``."""
    purchases, _, minutes = _PATTERNS[kind]
    span = min(minutes * _MINUTE_MS, (until - milliseconds) * 0.8)
    pattern = f"{kind}-{books.next_number()}"
    for share, store, body in purchases(retailer, books, milliseconds):
        books.plan(milliseconds + int(share * span), body, store.zone, _PREFIX + kind, pattern)


def has_room(left: int, books: Books) -> bool:
    """Whether ``left`` events are enough to finish what is planned and the longest pattern."""
    return left > len(books.planned) + _LONGEST


def truth(message: Message) -> str | None:
    """A line of the truth file, JSON with ``event_id``, ``kind``, ``pattern_id``; ``None`` for what is not fraud."""
    if message.value is None or not message.label.startswith(_PREFIX):
        return None
    event_id = json.loads(message.value)["event_id"]
    kind = message.label.removeprefix(_PREFIX)
    return json.dumps({"event_id": event_id, "kind": kind, "pattern_id": message.pattern})


def _card_testing(retailer: Retailer, books: Books, _: int) -> list[Purchase]:
    random = books.random
    first = random.choice(retailer.stores)
    near = sorted(retailer.stores, key=lambda store: kilometres(first, store))[:4]
    stores = near if len(near) > 1 else [first, retailer.web]
    payment: Event = {"method": "card", "card_token": new_card(random)}
    count = random.randint(10, _LONGEST)
    purchases: list[Purchase] = []
    for number in range(count):
        store = stores[number % len(stores)]
        body = receipt(books, store, first if store.web else store, None, payment, [_top_up(random.randint(50, 299))])
        purchases.append((number / count, store, body))
    return purchases


def _velocity(retailer: Retailer, books: Books, milliseconds: int) -> list[Purchase]:
    random = books.random
    customer = random.choice(retailer.customers.everyone)
    store = customer.home
    payment: Event = {"method": "card", "card_token": customer.card}
    count = random.randint(8, 14)
    return [
        (
            number / count,
            store,
            receipt(books, store, store, customer, payment, basket(retailer, books, store.currency, milliseconds)),
        )
        for number in range(count)
    ]


def _impossible_travel(retailer: Retailer, books: Books, milliseconds: int) -> list[Purchase]:
    random = books.random
    customer = random.choice(retailer.customers.everyone)
    near = customer.home if _far_from(customer.home, retailer) else retailer.stores[0]
    far = random.choice(_far_from(near, retailer))
    payment: Event = {"method": "card", "card_token": customer.card}
    return [
        (
            share,
            store,
            receipt(books, store, store, customer, payment, basket(retailer, books, store.currency, milliseconds)),
        )
        for share, store in ((0.0, near), (random.uniform(0.2, 1.0), far))
    ]


def _far_from(store: Store, retailer: Retailer) -> list[Store]:
    return [other for other in retailer.stores if kilometres(store, other) > _FAR_KM]


def _unusual_amount(retailer: Retailer, books: Books, _: int) -> list[Purchase]:
    random = books.random
    customer = random.choice(retailer.customers.everyone)
    store = customer.home
    products = retailer.catalogue.products
    looked_at = random.sample(products, min(_LOOKED_AT, len(products)))
    dearest = max(looked_at, key=lambda product: product.prices[store.currency])
    item = line(dearest, random.randint(20, 60), store.currency, {})
    payment: Event = {"method": "card", "card_token": customer.card}
    return [(0.0, store, receipt(books, store, store, customer, payment, [item]))]


def _top_up(cents: int) -> Event:
    return {
        "product_id": "GIFT-TOP-UP",
        "description": "Gift card top-up",
        "category": "Gift cards",
        "quantity": 1,
        "unit_price": money(cents),
        "discount": "0.00",
    }


#: By kind: what makes its purchases, their mean number, the minutes it takes at most.
_PATTERNS: dict[str, tuple[Callable[[Retailer, Books, int], list[Purchase]], float, int]] = {
    "card_testing": (_card_testing, 14, 10),
    "velocity": (_velocity, 11, 5),
    "impossible_travel": (_impossible_travel, 2, 55),
    "unusual_amount": (_unusual_amount, 1, 1),
}
