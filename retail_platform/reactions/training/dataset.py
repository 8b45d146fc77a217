"""Purchases as rows for a model: features, whether it was fraud, when, by which card."""

from __future__ import annotations

import zoneinfo
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retail_platform.reactions.fraud import tills
from retail_platform.reactions.fraud.features import MODEL_NAMES
from retail_platform.reactions.fraud.labels import Label
from retail_platform.reactions.training.history import History

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Dataset:
    """A row a purchase, in order of time: ``features`` (rows by features), ``fraud``, ``day`` and ``card`` as numbers.

    ``seconds``: when it was, whole seconds of any one clock.
    """

    features: Floats
    fraud: Flags
    day: Integers
    card: Integers
    seconds: Integers

    def where(self, chosen: Flags) -> Dataset:
        """The chosen rows."""
        return Dataset(
            self.features[chosen], self.fraud[chosen], self.day[chosen], self.card[chosen], self.seconds[chosen]
        )


def dataset(history: History, first_day: int, timezone: zoneinfo.ZoneInfo) -> Dataset:
    """The purchases from ``first_day`` on; those before it are counted in their features.

    A day is the ordinal of the business date. The features are those of ``MODEL_NAMES``, by the reducers of the stream.
    """
    cards: defaultdict[str, tills.CustomerState] = defaultdict(tills.CustomerState)
    counts: defaultdict[str, tills.Counts] = defaultdict(tills.Counts)
    numbers: dict[str, int] = {}
    rows = []
    for event in history.events:
        if isinstance(event, Label):
            place = tills.key_of(event)
            counts[place], _ = tills.features(counts[place], event)
            continue
        token = event.purchase.card_token
        cards[token], bought = tills.of_card(cards[token], event)
        if bought is None:
            continue
        counts[bought.till], found = tills.features(counts[bought.till], bought)
        day = bought.purchase.event_time.astimezone(timezone).toordinal()
        if found and day >= first_day:
            card = numbers.setdefault(token, len(numbers))
            second = int(bought.purchase.event_time.timestamp())
            rows.append((found, bought.purchase.event_id in history.frauds, day, card, second))
    vectors, fraud, days, card_numbers, seconds = zip(*rows, strict=True) if rows else ((), (), (), (), ())
    return Dataset(
        np.array(vectors, dtype=np.float64).reshape(-1, len(MODEL_NAMES)),
        np.array(fraud, dtype=np.bool_),
        np.array(days, dtype=np.int64),
        np.array(card_numbers, dtype=np.int64),
        np.array(seconds, dtype=np.int64),
    )
