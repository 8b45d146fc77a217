"""How good scores are: the handbook's three measures (chapter 4), and whether a score is a probability."""

from __future__ import annotations

from typing import TypedDict

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from retail_platform.reactions.training.dataset import Dataset, Floats, Integers

_TOP = 100

#: Where the bins of :func:`calibration` begin and end: scores are mostly small.
_BINS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


Measures = dict[str, float]
"""``auc_roc``, ``average_precision``, ``card_precision_100`` of scores on a test set: each 0 to 1, more is better."""


class Bin(TypedDict):
    """Purchases whose scores lie from ``over`` (exclusive, but for 0) to ``up_to``."""

    over: float
    up_to: float
    purchases: int
    mean_score: float
    fraud_share: float


def measures(test: Dataset, scores: Floats) -> Measures:
    """The handbook's measures of the scores; there must be purchases of both kinds."""
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


class Alerting(TypedDict):
    """What a threshold means for those who look at the alerts, and for the cards.

    ``alerts_a_day``; ``precision``: the share of them that is fraud; ``recall``: the share of the frauds that is hit.
    ``cards``: how many were defrauded. ``cards_found``: the share of them with an alert at their first fraud or later;
    ``at_once``: at their first fraud. ``seconds_to_alert``: from the first fraud to that alert, the median of those found, by
    the purchases' own times; 0 where none was.
    """

    alerts_a_day: float
    precision: float
    recall: float
    cards: int
    cards_found: float
    at_once: float
    seconds_to_alert: float


def alerting(test: Dataset, scores: Floats, threshold: float) -> Alerting:
    """The alerts of a test set, one a purchase whose score is at the threshold or above; there must be a fraud."""
    hit = scores >= threshold
    waits: list[int | None] = []
    for card in np.unique(test.card[test.fraud]):
        theirs = np.flatnonzero(test.card == card)
        first = theirs[test.fraud[theirs]][0]
        alerts = theirs[(theirs >= first) & hit[theirs]]
        waits.append(int(test.seconds[alerts[0]] - test.seconds[first]) if len(alerts) else None)
    found = [wait for wait in waits if wait is not None]
    return {
        "alerts_a_day": float(hit.sum() / len(np.unique(test.day))),
        "precision": float(test.fraud[hit].mean()) if hit.any() else 0.0,
        "recall": float(hit[test.fraud].mean()),
        "cards": len(waits),
        "cards_found": len(found) / len(waits),
        "at_once": found.count(0) / len(waits),
        "seconds_to_alert": float(np.median(found)) if found else 0.0,
    }


def brier(test: Dataset, scores: Floats) -> float:
    """The mean squared distance of score and truth, 0 to 1; less is better (Brier, 1950)."""
    return float(np.mean((scores - test.fraud) ** 2))


def calibration(test: Dataset, scores: Floats) -> list[Bin]:
    """Mean score beside share of fraud, by bins of the score; of a probability they are alike. Empty bins are left out."""
    places = np.searchsorted(_BINS[1:-1], scores, side="left")
    return [
        {
            "over": _BINS[place],
            "up_to": _BINS[place + 1],
            "purchases": int(inside.sum()),
            "mean_score": float(scores[inside].mean()),
            "fraud_share": float(test.fraud[inside].mean()),
        }
        for place in range(len(_BINS) - 1)
        if (inside := places == place).any()
    ]


def _cards(test: Dataset, scores: Floats, rows: Integers, left_out: set[int]) -> dict[int, tuple[float, bool]]:
    """(highest score, whether defrauded) by card."""
    cards: dict[int, tuple[float, bool]] = {}
    for row in rows:
        card = int(test.card[row])
        if card not in left_out:
            score, fraud = cards.get(card, (0.0, False))
            cards[card] = (max(score, float(scores[row])), fraud or bool(test.fraud[row]))
    return cards
