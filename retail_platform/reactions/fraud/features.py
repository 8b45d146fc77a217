"""The 15 features of a fraud model, counted as purchases pass: the same for training, for the stream and for a test.

After the Fraud Detection Handbook (Le Borgne, Siblini, Lebichot, Bontempi), chapter 3. A customer is a card, a terminal is a
till of a store. Two reducers, as they live under two keys (:func:`customer_step`, :func:`terminal_step` with
:func:`terminal_learn`), and :func:`vector` that puts their outputs together. :func:`extended` adds what the platform's own
model reads beside them; it is made of the 15 alone.

All windows are half open in event time: past ``t − days`` and up to ``t``, where ``t`` is the purchase's own time for a
customer and seven days earlier for a terminal. An event that comes late is counted from its arrival on.
"""

from __future__ import annotations

import datetime as dt
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from math import log
from typing import Any

from retail_platform.reactions.fraud.delayed import Counts, counted, entered, judged
from retail_platform.reactions.fraud.delayed import unpacked as unpacked_terminal
from retail_platform.reactions.fraud.labels import Label
from retail_platform.reactions.fraud.parameters import DAY_SECONDS
from retail_platform.reactions.fraud.state import SECOND
from retail_platform.reactions.outputs import micros

__all__ = [
    "DEFAULT", "MODEL_NAMES", "NAMES", "CustomerState", "Parameters", "Sale", "cents", "customer_step", "extended",
    "terminal_learn", "terminal_step", "unpacked_customer", "unpacked_terminal", "vector",
]  # fmt: skip

_SATURDAY = 5
_LAST_NIGHT_HOUR = 6

#: The windows of the handbook, in days.
WINDOWS = (1, 7, 30)

#: The features in the order of :func:`vector`. Counts of purchases; amounts in USD; risk is a share of fraud, 0 to 1.
NAMES = (
    "amount",
    "weekend",
    "night",
    *(f"customer_{what}_{days}d" for days in WINDOWS for what in ("purchases", "mean_amount")),
    *(f"terminal_{what}_{days}d" for days in WINDOWS for what in ("purchases", "risk")),
)

#: The features in the order of :func:`extended`.
MODEL_NAMES = (
    *NAMES,
    "log_amount",
    *(f"log_times_usual_{days}d" for days in WINDOWS),
    *(f"terminal_smoothed_risk_{days}d" for days in WINDOWS),
)

# The share of fraud in the handbook's simulation, at the weight of two purchases: one fraud at a till that sold once is no
# certainty (empirical Bayes).
_PRIOR_SHARE, _PRIOR_PURCHASES = 0.0084, 2
_CENT = 0.01


@dataclass(frozen=True, slots=True)
class Parameters:
    """How the windows are kept; a model holds for the ``version`` it was trained with.

    ``delay_days``: until a label is known, 7 in the handbook. ``customer_seconds``, ``terminal_seconds``: the length of a
    bucket: times are rounded down to it. A card buys seldom, so each second stands; a till sells all day, and an hour keeps
    its 37 days in at most 889 buckets. ``customer_buckets``: newest buckets kept of a card. ``remembered``: newest ids of
    events kept, by which duplicates are told.
    """

    version: str
    delay_days: int = 7
    customer_seconds: int = 1
    terminal_seconds: int = 3_600
    customer_buckets: int = 1_024
    remembered: int = 128


DEFAULT = Parameters("2026-11-29")


@dataclass(frozen=True, slots=True)
class Sale:
    """What the features see of a sale. ``seconds`` since 1970-01-01 UTC, whole; ``cents`` of a US dollar, whole."""

    event_id: str
    seconds: int
    cents: int


@dataclass(frozen=True, slots=True)
class CustomerState:
    """A card's purchases of the last 30 days: ``buckets`` ascending, number and cents beside them.

    Bounded by 30 days and ``Parameters.customer_buckets``. ``recent``: a duplicate is told as long as fewer than
    ``Parameters.remembered`` other purchases with the card came after it.
    """

    buckets: tuple[int, ...] = ()
    purchases: tuple[int, ...] = ()
    cents: tuple[int, ...] = ()
    recent: tuple[str, ...] = ()

    def packed(self) -> dict[str, Any]:
        """The state as JSON."""
        return {
            "buckets": list(self.buckets),
            "purchases": list(self.purchases),
            "cents": list(self.cents),
            "recent": list(self.recent),
        }


def unpacked_customer(packed: Mapping[str, Any] | None) -> CustomerState:
    """The state from its JSON; ``None`` is the state of a card never seen."""
    if packed is None:
        return CustomerState()
    return CustomerState(*(tuple(packed[name]) for name in ("buckets", "purchases", "cents", "recent")))


def cents(amount_usd: Decimal) -> int:
    """US dollars as whole cents, rounded half up."""
    return int((amount_usd * 100).quantize(Decimal(1), ROUND_HALF_UP))


def customer_step(
    state: CustomerState, new: Sale, parameters: Parameters = DEFAULT
) -> tuple[CustomerState, tuple[float, ...]]:
    """The card's state with the purchase, and its six features, the purchase included; none for a duplicate.

    The features: number and mean amount in USD over each window.
    """
    if new.event_id in state.recent:
        return state, ()
    bucket = new.seconds // parameters.customer_seconds
    buckets, purchases = entered(state.buckets, state.purchases, bucket, 1)
    _, cents = entered(state.buckets, state.cents, bucket, new.cents)
    per_day = DAY_SECONDS // parameters.customer_seconds
    found = tuple(
        value
        for days in WINDOWS
        for value in _number_and_mean(buckets, purchases, cents, bucket - days * per_day, bucket)
    )
    gone = max(bisect_right(buckets, buckets[-1] - WINDOWS[-1] * per_day), len(buckets) - parameters.customer_buckets)
    recent = (*state.recent, new.event_id)[-parameters.remembered :]
    return CustomerState(buckets[gone:], purchases[gone:], cents[gone:], recent), found


def terminal_step(counts: Counts, new: Sale, parameters: Parameters = DEFAULT) -> tuple[Counts, tuple[float, ...]]:
    """The till's counts with the purchase, and its six features; none for a duplicate.

    The features: number of purchases and share of confirmed fraud over each window, 0 where there was no purchase.
    """
    if new.event_id in counts.recent:
        return counts, ()
    bucket, per_day = new.seconds // parameters.terminal_seconds, DAY_SECONDS // parameters.terminal_seconds
    after = counted(counts, new.event_id, bucket, _terminal_kept(parameters), parameters.remembered)
    until = bucket - parameters.delay_days * per_day
    found = tuple(value for days in WINDOWS for value in _number_and_risk(after, until - days * per_day, until))
    return after, found


def terminal_learn(counts: Counts, label: Label, parameters: Parameters = DEFAULT) -> Counts:
    """The till's counts with a verdict on one of its purchases."""
    seconds = micros(label.transaction_time) // SECOND
    return judged(
        counts,
        label.event_id,
        label.transaction_event_id,
        seconds // parameters.terminal_seconds,
        fraud=label.verdict == "confirmed",
        kept=_terminal_kept(parameters),
        remembered=parameters.remembered,
    )


def vector(new: Sale, customer: tuple[float, ...], terminal: tuple[float, ...]) -> tuple[float, ...]:
    """The features named by :data:`NAMES`. Weekend (Saturday, Sunday) and night (hour up to 6) are by UTC; 0 or 1."""
    moment = dt.datetime.fromtimestamp(new.seconds, dt.UTC)
    weekend, night = moment.weekday() >= _SATURDAY, moment.hour <= _LAST_NIGHT_HOUR
    return (new.cents / 100, float(weekend), float(night), *customer, *terminal)


def extended(vector: tuple[float, ...]) -> tuple[float, ...]:
    """The features named by :data:`MODEL_NAMES`: those of :func:`vector`, and what is made of them.

    ``log_amount``: natural logarithm of the amount in USD, at least a cent. ``log_times_usual``: of the amount by the mean of
    the card's *other* purchases in the window, 0 where there is none. ``terminal_smoothed_risk``: the till's share of fraud
    with a prior of 0.84 % at the weight of 2 purchases.
    """
    amount, card, till = max(vector[0], _CENT), vector[3:9], vector[9:15]
    return (
        *vector,
        log(amount),
        *(_times_usual(amount, number, mean) for number, mean in zip(card[::2], card[1::2], strict=True)),
        *(_smoothed(number, risk) for number, risk in zip(till[::2], till[1::2], strict=True)),
    )


def _times_usual(amount: float, number: float, mean: float) -> float:
    others = number * mean - amount
    return log(amount * (number - 1) / others) if number > 1 and others >= _CENT else 0.0


def _smoothed(number: float, risk: float) -> float:
    return (number * risk + _PRIOR_PURCHASES * _PRIOR_SHARE) / (number + _PRIOR_PURCHASES)


def _terminal_kept(parameters: Parameters) -> int:
    return (parameters.delay_days + WINDOWS[-1]) * (DAY_SECONDS // parameters.terminal_seconds)


def _number_and_mean(
    buckets: tuple[int, ...], purchases: tuple[int, ...], cents: tuple[int, ...], after: int, until: int
) -> tuple[float, float]:
    start, end = bisect_right(buckets, after), bisect_right(buckets, until)
    number = sum(purchases[start:end])
    return float(number), sum(cents[start:end]) / 100 / number


def _number_and_risk(counts: Counts, after: int, until: int) -> tuple[float, float]:
    number, frauds = counts.within(after, until)
    return float(number), frauds / number if number else 0.0
