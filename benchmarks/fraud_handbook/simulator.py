"""The handbook's simulated card transactions: customers, terminals, three kinds of fraud.

Another random generator than the handbook's: its counts (1,754,155 transactions, 0.84 % fraud) are met closely, not exactly.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

START = dt.date(2018, 4, 1)
DAYS = 183
DAY_SECONDS = 86_400

_SIDE = 100.0
_RADIUS = 5.0
_LARGE_CENTS = 22_000
_TERMINALS_A_DAY, _TERMINAL_DAYS = 2, 28
_CUSTOMERS_A_DAY, _CUSTOMER_DAYS, _CUSTOMER_FACTOR = 3, 14, 5

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Transactions:
    """Transactions in order of time. ``seconds`` since :data:`START`, ``cents``, customer, terminal, whether fraud."""

    seconds: Integers
    customer: Integers
    terminal: Integers
    cents: Integers
    fraud: Flags

    @property
    def day(self) -> Integers:
        """The day of each, counted from :data:`START`."""
        return self.seconds // DAY_SECONDS

    def until(self, day: int) -> Transactions:
        """Those before the day."""
        end = int(np.searchsorted(self.seconds, day * DAY_SECONDS))
        return Transactions(
            self.seconds[:end], self.customer[:end], self.terminal[:end], self.cents[:end], self.fraud[:end]
        )


def simulate(seed: int, customers: int = 5_000, terminals: int = 10_000, days: int = DAYS) -> Transactions:
    """All transactions of the ``days``; the same for the same arguments."""
    sequences = np.random.SeedSequence(seed).spawn(4)
    people, places, trade, crime = (np.random.default_rng(sequence) for sequence in sequences)
    homes = people.uniform(0, _SIDE, (customers, 2))
    means = people.uniform(5, 100, customers)
    paces = people.uniform(0, 4, customers)
    sites = places.uniform(0, _SIDE, (terminals, 2))
    parts = [
        _bought(number, means[number], paces[number], np.flatnonzero(_near(homes[number], sites)), days, trade)
        for number in range(customers)
    ]
    seconds, customer, terminal, cents = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(seconds, kind="stable")
    honest = Transactions(
        seconds[order], customer[order], terminal[order], cents[order], np.zeros(len(order), dtype=np.bool_)
    )
    return _defrauded(honest, customers, terminals, days, crime)


def _near(home: Floats, sites: Floats) -> Flags:
    return np.asarray(np.hypot(*(sites - home).T) < _RADIUS)


def _bought(
    number: int, mean: float, pace: float, terminals: Integers, days: int, random: np.random.Generator
) -> tuple[Integers, Integers, Integers, Integers]:
    """(seconds, customer, terminal, cents) of one customer."""
    if not len(terminals):
        none = np.empty(0, dtype=np.int64)
        return none, none, none, none
    day = np.repeat(np.arange(days), random.poisson(pace, days))
    second = random.normal(DAY_SECONDS / 2, 20_000, len(day)).astype(np.int64)
    within = (second > 0) & (second < DAY_SECONDS)
    seconds = day[within] * DAY_SECONDS + second[within]
    amount = random.normal(mean, mean / 2, len(seconds))
    amount = np.where(amount < 0, random.uniform(0, 2 * mean, len(seconds)), amount)
    chosen = random.choice(terminals, len(seconds))
    return seconds, np.full(len(seconds), number), chosen, np.rint(amount * 100).astype(np.int64)


def _defrauded(
    honest: Transactions, customers: int, terminals: int, days: int, random: np.random.Generator
) -> Transactions:
    """The three scenarios, in their order: large amounts, compromised terminals, stolen cards."""
    cents = honest.cents.copy()
    fraud = cents > _LARGE_CENTS
    day_starts = np.searchsorted(honest.seconds, np.arange(days + _TERMINAL_DAYS + 1) * DAY_SECONDS)
    for day in range(days):
        span = slice(day_starts[day], day_starts[day + _TERMINAL_DAYS])
        fraud[span] |= np.isin(honest.terminal[span], random.choice(terminals, _TERMINALS_A_DAY, replace=False))
    for day in range(days):
        span = slice(day_starts[day], day_starts[day + _CUSTOMER_DAYS])
        stolen = np.isin(honest.customer[span], random.choice(customers, _CUSTOMERS_A_DAY, replace=False))
        theirs = day_starts[day] + np.flatnonzero(stolen)
        third = random.choice(theirs, len(theirs) // 3, replace=False)
        cents[third] *= _CUSTOMER_FACTOR
        fraud[third] = True
    return Transactions(honest.seconds, honest.customer, honest.terminal, cents, fraud)
