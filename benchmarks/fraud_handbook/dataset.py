"""The features of the simulated transactions, counted one after the other, as a stream counts them."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict, deque
from collections.abc import Callable

import numpy as np

from benchmarks.fraud_handbook.simulator import DAY_SECONDS, START, Transactions
from retail_platform.reactions.fraud.delayed import Counts
from retail_platform.reactions.fraud.features import (
    WINDOWS,
    CustomerState,
    Parameters,
    Sale,
    customer_step,
    extended,
    terminal_learn,
    terminal_step,
    vector,
)
from retail_platform.reactions.fraud.labels import Label
from retail_platform.reactions.training.dataset import Dataset

#: To the second, as the handbook counts.
HANDBOOK = Parameters("handbook", terminal_seconds=1)

#: Days of purchases that a feature reaches back.
REACH_DAYS = HANDBOOK.delay_days + WINDOWS[-1]

_START_SECONDS = int(dt.datetime.combine(START, dt.time(), dt.UTC).timestamp())
_TOLD_EVERY = 10_000


def dataset(transactions: Transactions, first_day: int, told: Callable[[int], None] = lambda _: None) -> Dataset:
    """The transactions from ``first_day`` on; the days before it that their features reach back to are counted too.

    The features are those of ``MODEL_NAMES``: the first 15 are the handbook's. A card is a customer.

    A fraud's label reaches its terminal seven days after it, as an event in the stream would. ``told`` hears the number of
    transactions counted so far.
    """
    start = int(np.searchsorted(transactions.seconds, (first_day - REACH_DAYS) * DAY_SECONDS))
    first = int(np.searchsorted(transactions.seconds, first_day * DAY_SECONDS))
    columns = (
        transactions.seconds,
        transactions.customer,
        transactions.terminal,
        transactions.cents,
        transactions.fraud,
    )
    rows = zip(*(column[start:].tolist() for column in columns), strict=True)
    customers: defaultdict[int, CustomerState] = defaultdict(CustomerState)
    terminals: defaultdict[int, Counts] = defaultdict(Counts)
    coming: deque[tuple[int, int, Label]] = deque()
    vectors = []
    for number, (second, customer, terminal, cents, fraud) in enumerate(rows, start=start):
        while coming and coming[0][0] <= second:
            _, place, label = coming.popleft()
            terminals[place] = terminal_learn(terminals[place], label, HANDBOOK)
        new = Sale(str(number), _START_SECONDS + second, cents)
        customers[customer], of_customer = customer_step(customers[customer], new, HANDBOOK)
        terminals[terminal], of_terminal = terminal_step(terminals[terminal], new, HANDBOOK)
        if fraud:
            coming.append((second + HANDBOOK.delay_days * DAY_SECONDS, terminal, _label(new)))
        if number >= first:
            vectors.append(extended(vector(new, of_customer, of_terminal)))
        if not number % _TOLD_EVERY:
            told(number - start)
    kept = slice(first, None)
    return Dataset(
        np.array(vectors),
        transactions.fraud[kept],
        transactions.day[kept],
        transactions.customer[kept],
        transactions.seconds[kept],
    )


def _label(fraud: Sale) -> Label:
    moment = dt.datetime.fromtimestamp(fraud.seconds, dt.UTC)
    known = moment + dt.timedelta(days=HANDBOOK.delay_days)
    return Label(f"label-{fraud.event_id}", known, fraud.event_id, moment, "", "confirmed")
