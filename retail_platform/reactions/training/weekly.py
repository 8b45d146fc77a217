"""A model for one week: trained on the weeks before, tested on that week by the features that the stream counts."""

from __future__ import annotations

import datetime as dt
import zoneinfo
from dataclasses import dataclass
from typing import Any

import numpy as np

from retail_platform.errors import RetailError
from retail_platform.reactions.fraud import model as data
from retail_platform.reactions.fraud.features import DEFAULT, MODEL_NAMES, WINDOWS
from retail_platform.reactions.fraud.measures import CRITERIA
from retail_platform.reactions.metrics.rates import read_rates
from retail_platform.reactions.training.dataset import Dataset, Floats, dataset
from retail_platform.reactions.training.history import history
from retail_platform.reactions.training.measures import alerting, brier, calibration, measures
from retail_platform.reactions.training.split import Weeks, split
from retail_platform.reactions.training.trees import PARAMETERS, exported, fitted
from retail_platform.settings import FX_RATES, Settings

#: Confirmed frauds without which nothing is learned, and nothing measured (priors).
LEAST_FRAUDS = 20
LEAST_TEST_FRAUDS = 5

WEEKS = Weeks(delay_days=DEFAULT.delay_days)

_REACH_DAYS = DEFAULT.delay_days + WINDOWS[-1]


@dataclass(frozen=True, slots=True)
class Trained:
    """A model, and the purchases that it was tested on."""

    model: data.Model
    test: Dataset


def train(settings: Settings, test_first: dt.date, weeks: Weeks = WEEKS) -> Trained:
    """The model that is tested on the days from ``test_first`` on.

    The same for the same purchases and verdicts. A purchase without a verdict counts as no fraud.

    Raises:
        RetailError: the lake has no such purchases, or too few of them are confirmed as fraud.
    """
    first = test_first.toordinal()
    train_first = weeks.train_first(first)
    last = first + weeks.test_days - 1
    with FX_RATES.open(encoding="utf-8") as lines:
        rates = read_rates(lines)
    known = history(settings, rates, _date(train_first - _REACH_DAYS), _date(last))
    rows = dataset(known, train_first, zoneinfo.ZoneInfo(settings.business_timezone))
    learned, test = split(rows, train_first, weeks)
    train_last = train_first + weeks.train_days - 1
    _enough(learned, "training", train_first, train_last, LEAST_FRAUDS)
    _enough(test, "test", first, last, LEAST_TEST_FRAUDS)
    return trained(learned, test, (train_first, train_last), (first, last), weeks)


def trained(
    learned: Dataset, test: Dataset, train_days: tuple[int, int], test_days: tuple[int, int], weeks: Weeks
) -> Trained:
    """The model of these rows; the days are the first and the last, as ordinals."""
    classifier = fitted(learned.features, learned.fraud)
    trees = exported(classifier)
    importances = dict(zip(MODEL_NAMES, classifier.feature_importances_.tolist(), strict=True))
    training = _span(learned, train_days) | {
        "label_delay_days": weeks.delay_days,
        "algorithm": "RandomForestClassifier",
        "parameters": PARAMETERS,
        "importances": importances,
    }
    # What is measured is what is shipped: the trees as data.
    test_first = _date(test_days[0]).isoformat()
    found = scores(data.versioned(test_first, 0.0, trees, training, {}), test)
    threshold = alert_threshold(test, found)
    hit = found >= threshold
    tested = _span(test, test_days) | {
        **measures(test, found),
        "brier": brier(test, found),
        "calibration": calibration(test, found),
        "hits": int(hit.sum()),
        "precision_of_hits": float(test.fraud[hit].mean()),
        "alerting": alerting(test, found, threshold),
        "traffic_hit": float(hit.mean()),
    }
    return Trained(data.versioned(test_first, threshold, trees, training, tested), test)


def scores(model: data.Model, rows: Dataset) -> Floats:
    """What the model says of each row, by the arithmetic of the stream."""
    return np.array([model.score(vector) for vector in rows.features.tolist()])


def alert_threshold(test: Dataset, found: Floats) -> float:
    """The lowest score from which the hits meet the criteria of release: enough of them fraud, few of the purchases hit.

    Where none does, the lowest that hits few enough; where each hits too many, the highest.
    """
    candidates = np.unique(found)
    hits = len(found) - np.searchsorted(np.sort(found), candidates)
    frauds = test.fraud.sum() - np.searchsorted(np.sort(found[test.fraud]), candidates)
    few = hits / len(found) < CRITERIA.traffic
    for meets in (few & (frauds / hits >= CRITERIA.precision), few):
        if meets.any():
            return float(candidates[meets].min())
    return float(candidates[-1])


def _span(rows: Dataset, days: tuple[int, int]) -> dict[str, Any]:
    first, last = (_date(day).isoformat() for day in days)
    return {"first_date": first, "last_date": last, "purchases": len(rows.fraud), "frauds": int(rows.fraud.sum())}


def _enough(rows: Dataset, what: str, first: int, last: int, least: int) -> None:
    frauds, purchases = int(rows.fraud.sum()), len(rows.fraud)
    if frauds < least or frauds == purchases:
        raise RetailError(
            f"the {what} days {_date(first)} to {_date(last)} have {frauds:,} confirmed frauds among {purchases:,} purchases "
            f"with a card, and {least} are needed beside others; give verdicts by `retail fraud label`, or take another week"
        )


def _date(ordinal: int) -> dt.date:
    return dt.date.fromordinal(ordinal)
