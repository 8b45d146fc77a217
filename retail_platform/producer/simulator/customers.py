"""Customers who come back: an account, a card, a home store, how often they buy and how much of it online."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from random import Random

from retail_platform.producer.simulator.draw import Weighted, weighted
from retail_platform.producer.simulator.stores import Store


@dataclass(frozen=True, slots=True)
class Customer:
    """A known customer; ``card`` is the token of the card on file."""

    id: str
    card: str
    home: Store


@dataclass(frozen=True, slots=True)
class Customers:
    """All customers, by how often they shop: in each store (by its id) and online."""

    everyone: tuple[Customer, ...]
    in_store: dict[str, Weighted[Customer]]
    online: Weighted[Customer]


def sign_up(count: int, stores: tuple[Store, ...], random: Random) -> Customers:
    """``count`` customers, more of them at the larger stores."""
    homes = weighted((store, store.size) for store in stores)
    everyone = tuple(Customer(f"C{number:07d}", new_card(random), homes.draw(random)) for number in range(1, count + 1))
    visits = [random.paretovariate(1.6) for _ in everyone]
    at_home: dict[str, list[tuple[Customer, float]]] = defaultdict(list)
    for customer, weight in zip(everyone, visits, strict=True):
        at_home[customer.home.id].append((customer, weight))
    return Customers(
        everyone,
        {store: weighted(pairs) for store, pairs in at_home.items()},
        weighted((customer, weight * random.random()) for customer, weight in zip(everyone, visits, strict=True)),
    )


def new_card(random: Random) -> str:
    """The token of a card never seen before."""
    return f"tok_{random.getrandbits(64):016x}"
