"""The stock rooms: receipts, transfers between stores, counts, shrinkage, adjustments."""

from __future__ import annotations

from random import Random

from retail_platform.producer.message import Event
from retail_platform.producer.simulator.draw import weighted
from retail_platform.producer.simulator.retailer import Books, Retailer
from retail_platform.producer.simulator.stores import Store

_FIRST_STOCK = 60
_REORDER_LEVEL = 12
_PACK = 12
_TRANSFER_MS = (30 * 60_000, 4 * 3_600_000)
_MOVEMENTS = weighted([("receipt", 50), ("transfer", 15), ("count", 12), ("shrinkage", 10), ("adjustment", 13)])


def sold(books: Books, store_id: str, product_id: str, quantity: int) -> None:
    """Take a sale from stock; what runs low is put down to be ordered."""
    place = (store_id, product_id)
    before = books.stock.get(place, _FIRST_STOCK)
    books.stock[place] = before - quantity
    if before > _REORDER_LEVEL >= before - quantity:
        books.low.append(place)


def move(retailer: Retailer, books: Books, milliseconds: int, *, until: int, may_plan: bool) -> tuple[Event, Store]:
    """A movement, without its id and time, and its store. A transfer's arrival is planned, before ``until``."""
    random = books.random
    store = random.choice((*retailer.stores, retailer.web))
    product = retailer.catalogue.by_demand.draw(random).id
    kind = _MOVEMENTS.draw(random)
    if kind == "transfer" and may_plan:
        return _transfer(retailer, books, store, product, milliseconds, until), store
    if kind == "receipt" and books.low:
        store_id, product = books.low.popleft()
        store = next(candidate for candidate in (*retailer.stores, retailer.web) if candidate.id == store_id)
    if kind in ("receipt", "transfer"):
        return _moved(books, store, product, "receipt", _PACK * random.randint(2, 12), "DN"), store
    if kind == "count":
        counted = max(0, books.stock.get((store.id, product), _FIRST_STOCK) + random.randint(-2, 2))
        books.stock[store.id, product] = counted
        return _body(store, product, "count", counted, f"CT-{books.next_number()}"), store
    lost = -random.randint(1, 3)
    quantity = lost if kind == "shrinkage" else _either_way(random)
    return _moved(books, store, product, kind, quantity, None), store


def _transfer(retailer: Retailer, books: Books, store: Store, product: str, milliseconds: int, until: int) -> Event:
    random = books.random
    target = random.choice([other for other in (*retailer.stores, retailer.web) if other is not store])
    quantity = random.randint(1, 10)
    reference = f"TR-{books.next_number()}"
    shortest, longest = _TRANSFER_MS
    latest = max(1, int((until - milliseconds) * 0.8))
    due = milliseconds + min(random.randint(shortest, longest), random.randint(1, latest))
    arrival = _body(target, product, "transfer_in", quantity, reference)
    books.plan(due, arrival, target.zone, "movement")
    _change(books, target, product, quantity)
    _change(books, store, product, -quantity)
    return _body(store, product, "transfer_out", -quantity, reference)


def _moved(books: Books, store: Store, product: str, kind: str, quantity: int, prefix: str | None) -> Event:
    _change(books, store, product, quantity)
    return _body(store, product, kind, quantity, f"{prefix}-{books.next_number()}" if prefix else None)


def _change(books: Books, store: Store, product: str, quantity: int) -> None:
    books.stock[store.id, product] = books.stock.get((store.id, product), _FIRST_STOCK) + quantity


def _body(store: Store, product: str, kind: str, quantity: int, reference: str | None) -> Event:
    body: Event = {"store_id": store.id, "product_id": product, "movement": kind, "quantity": quantity}
    return body | {"reference": reference} if reference else body


def _either_way(random: Random) -> int:
    return random.choice((-1, 1)) * random.randint(1, 8)
