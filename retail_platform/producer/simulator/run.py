"""The simulation itself: moment by moment, what the retailer does next."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop
from itertools import cycle
from random import Random

from retail_platform.producer import message
from retail_platform.producer.message import Message
from retail_platform.producer.simulator import fraud
from retail_platform.producer.simulator.faults import with_faults
from retail_platform.producer.simulator.plan import Plan
from retail_platform.producer.simulator.retailer import Books, Planned, Retailer, open_books, open_retailer, stamped
from retail_platform.producer.simulator.sales import refund, sale
from retail_platform.producer.simulator.stock import move
from retail_platform.producer.simulator.stores import Store
from retail_platform.producer.simulator.trading_day import moments, stretches

_HOUR_MS = 3_600_000
_LATEST_MS = 12 * _HOUR_MS


def simulate(plan: Plan) -> Iterator[Message]:
    """The plan's messages in the order they are sent, made when asked for; ``due`` counts from ``plan.start``."""
    faults = Random(f"{plan.seed}:{plan.start_ms}:faults")
    return with_faults(_trade(plan, open_retailer(plan), open_books(plan)), plan, faults)


def _trade(plan: Plan, retailer: Retailer, books: Books) -> Iterator[Message]:
    random, planned = books.random, books.planned
    kinds = fraud.kinds(retailer)
    turns = cycle(kinds)
    begins_fraud = plan.fraud / fraud.mean_events(kinds)
    left = plan.count
    parts = stretches(plan, (*retailer.stores, retailer.web))
    for now, part in moments(parts, plan.count, random):
        if random.random() < begins_fraud and fraud.has_room(left, books):
            fraud.plan_pattern(next(turns), retailer, books, now, plan.end_ms)
        if planned and (planned[0].due <= now or len(planned) >= left):
            yield _arrived(heappop(planned), plan, now, random)
        elif random.random() < plan.movements:
            body, store = move(retailer, books, now, until=plan.end_ms, may_plan=fraud.has_room(left, books))
            yield _happened(body, "movement", store, plan, now, random)
        else:
            store = part.stores.draw(random)
            returned = refund(books, store) if random.random() < plan.returns else None
            yield _happened(returned or sale(retailer, books, store, now), "transaction", store, plan, now, random)
        left -= 1


def _arrived(event: Planned, plan: Plan, now: int, random: Random) -> Message:
    body = stamped(event.body, event.due, event.zone, random)
    due = (now - plan.start_ms) / 1000
    if "movement" in body:
        return message.movement(body, event.label, due)
    return message.transaction(body, event.label, due, event.pattern)


def _happened(body: message.Event, kind: str, store: Store, plan: Plan, now: int, random: Random) -> Message:
    happened, label = now, kind
    if random.random() < plan.late:
        oldest = _LATEST_MS if plan.live else min(_LATEST_MS, now - plan.start_ms)
        if oldest > _HOUR_MS:
            happened, label = now - random.randint(_HOUR_MS, oldest), "late"
    event = stamped(body, happened, store.zone, random)
    due = (now - plan.start_ms) / 1000
    return message.movement(event, label, due) if kind == "movement" else message.transaction(event, label, due)
