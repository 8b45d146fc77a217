"""How a model is trained and measured: the handbook's split and its three measures."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from benchmarks.fraud_handbook.dataset import Dataset
from benchmarks.fraud_handbook.simulator import Floats

TRAIN_DAYS = DELAY_DAYS = TEST_DAYS = 7

#: The test begins on 2018-08-08: training days 2018-07-25 to 31, counted from 2018-04-01.
TRAIN_START = 115

_TOP = 100

Measures = dict[str, float]
"""``auc_roc``, ``average_precision``, ``card_precision_100``."""


def split(data: Dataset, train_start: int) -> tuple[Dataset, Dataset]:
    """(training set, test set) of the training week that begins on that day, and the test week after the delay.

    A test day leaves out the customers known as defrauded: with fraud in the training days, or on days up to the delay
    before it.
    """
    train = data.where(_days(data, train_start, TRAIN_DAYS))
    test_start = train_start + TRAIN_DAYS + DELAY_DAYS
    chosen = np.zeros(len(data.day), dtype=np.bool_)
    for day in range(test_start, test_start + TEST_DAYS):
        before = data.fraud & (data.day >= train_start) & (data.day <= day - DELAY_DAYS)
        known = np.unique(data.customer[before])
        chosen |= (data.day == day) & ~np.isin(data.customer, known)
    return train, data.where(chosen)


def measured(model: Any, train: Dataset, test: Dataset) -> Measures:
    """Fit the model on the training set and measure it on the test set."""
    model.fit(train.features, train.fraud)
    return measures(test, model.predict_proba(test.features)[:, 1])


def measures(test: Dataset, scores: Floats) -> Measures:
    """The handbook's measures of the scores."""
    return {
        "auc_roc": float(roc_auc_score(test.fraud, scores)),
        "average_precision": float(average_precision_score(test.fraud, scores)),
        "card_precision_100": card_precision(test, scores),
    }


def card_precision(test: Dataset, scores: Floats, top: int = _TOP) -> float:
    """Each day's cards by their highest score: the share of defrauded ones among the ``top``, averaged over the days.

    Cards found in a day are left out on the days after.
    """
    found: set[int] = set()
    precisions = []
    for day in np.unique(test.day):
        of_day = np.flatnonzero(test.day == day)
        cards = _cards(test, scores, of_day, found)
        ranked = sorted(cards, key=lambda card: (-cards[card][0], card))[:top]
        hit = {card for card in ranked if cards[card][1]}
        found |= hit
        precisions.append(len(hit) / top)
    return float(np.mean(precisions))


def _cards(test: Dataset, scores: Floats, rows: Any, left_out: set[int]) -> dict[int, tuple[float, bool]]:
    """(highest score, whether defrauded) by card."""
    cards: dict[int, tuple[float, bool]] = {}
    for row in rows:
        card = int(test.customer[row])
        if card not in left_out:
            score, fraud = cards.get(card, (0.0, False))
            cards[card] = (max(score, float(scores[row])), fraud or bool(test.fraud[row]))
    return cards


def _days(data: Dataset, first: int, count: int) -> Any:
    return (data.day >= first) & (data.day < first + count)
