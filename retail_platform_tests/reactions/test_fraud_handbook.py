"""The handbook's benchmark: its simulator, its split and its measures. No figure of a model is asserted."""

import numpy as np
import pytest

from benchmarks import results
from benchmarks.fraud import publish
from benchmarks.fraud_handbook.dataset import dataset
from benchmarks.fraud_handbook.document import PUBLISHED
from benchmarks.fraud_handbook.protocol import WEEKS
from benchmarks.fraud_handbook.simulator import DAY_SECONDS, simulate
from retail_platform.reactions.fraud.features import MODEL_NAMES
from retail_platform.reactions.training.dataset import Dataset
from retail_platform.reactions.training.measures import alerting, card_precision
from retail_platform.reactions.training.split import split

DAYS = 45


@pytest.fixture(scope="module")
def transactions():
    return simulate(4, customers=150, terminals=300, days=DAYS)


def test_a_simulation_is_the_same_for_the_same_seed(transactions):
    again, other = (simulate(seed, customers=150, terminals=300, days=DAYS) for seed in (4, 5))
    assert np.array_equal(transactions.cents, again.cents)
    assert np.array_equal(transactions.fraud, again.fraud)
    assert not np.array_equal(transactions.cents[:1000], other.cents[:1000])


def test_transactions_come_in_order_within_their_days(transactions):
    assert np.all(np.diff(transactions.seconds) >= 0)
    assert 0 < transactions.seconds[0] < DAY_SECONDS
    assert transactions.day.max() == DAYS - 1
    assert transactions.cents.min() >= 0
    assert np.all(transactions.until(10).day < 10)
    assert 150 * DAYS < len(transactions.fraud) < 150 * DAYS * 3


def test_every_large_amount_of_a_customers_own_is_fraud(transactions):
    # Mean amounts go up to 100 with a deviation of 50; five times a stolen card's amount is fraud as well.
    assert transactions.fraud[transactions.cents > 22_000].all()


def test_a_compromised_terminal_is_all_fraud_for_four_weeks(transactions):
    runs = []
    for terminal in np.unique(transactions.terminal[transactions.fraud]):
        theirs = transactions.terminal == terminal
        if theirs.sum() >= 30:
            days, fraud = transactions.day[theirs], transactions.fraud[theirs]
            runs += [fraud[(days >= first) & (days < first + 28)].all() for first in range(DAYS - 28)]
    assert any(runs)


def test_features_begin_with_the_day_asked_for_and_know_the_days_before(transactions):
    whole, part = dataset(transactions, 35), dataset(transactions, 40)
    assert np.array_equal(whole.features[whole.day >= 40], part.features)
    assert part.features.shape == (len(part.fraud), len(MODEL_NAMES))


def small(rows):
    """(day, customer, fraud) rows."""
    day, customer, fraud = (np.array(column) for column in zip(*rows, strict=True))
    return Dataset(np.zeros((len(rows), 15)), fraud.astype(bool), day, customer, np.arange(len(rows)))


def test_a_test_day_leaves_out_the_customers_that_are_known_by_then():
    rows = [(0, 1, True), (6, 2, False), (7, 3, True), (8, 4, True), (13, 5, True)]
    rows += [(day, customer, False) for day in (14, 15, 20) for customer in (1, 2, 3, 4, 5)]
    train, test = split(small(rows), 0, WEEKS)
    assert set(train.day) == {0, 6}
    by_day = {day: set(test.card[test.day == day].tolist()) for day in (14, 15, 20)}
    assert by_day == {14: {2, 4, 5}, 15: {2, 5}, 20: {2}}


def test_a_cards_wait_is_from_its_first_fraud_to_the_first_alert_from_then_on():
    # (day, card, fraud, score); a row a second. Card 1 is found at its second fraud, 2 at once, 3 not, 4 is honest.
    rows = [
        (0, 1, 1, 0.1),
        (0, 2, 1, 0.9),
        (0, 1, 0, 0.2),
        (0, 3, 0, 0.9),
        (1, 1, 1, 0.8),
        (1, 3, 1, 0.4),
        (1, 4, 0, 0.7),
    ]
    found = alerting(small([row[:3] for row in rows]), np.array([row[3] for row in rows]), 0.5)
    assert found == {
        "alerts_a_day": 2.0,
        "precision": 0.5,
        "recall": 0.5,
        "cards": 3,
        "cards_found": 2 / 3,
        "at_once": 1 / 3,
        "seconds_to_alert": 2.0,
    }


def test_card_precision_ranks_cards_by_their_highest_score_and_counts_each_find_once():
    rows = [(0, 1, True), (0, 1, False), (0, 2, False), (0, 3, True), (1, 1, True), (1, 2, True), (1, 3, True)]
    scores = np.array([0.1, 0.9, 0.8, 0.2, 0.9, 0.1, 0.5])
    # Day 0: cards 1 and 2 on top, 1 is defrauded. Day 1: 1 is known; 3 and 2 on top, both are.
    assert card_precision(small(rows), scores, top=2) == (1 / 2 + 2 / 2) / 2


def test_the_page_sets_each_model_beside_its_published_figures(tmp_path):
    found = {"auc_roc": 0.9, "average_precision": 0.64, "card_precision_100": 0.3}
    models = dict.fromkeys((*PUBLISHED, "chosen: forest"), found)
    result = results.measured(
        lambda: {
            "parameters": {},
            "figures": {
                "choice": {"forest": found},
                "chosen": "forest",
                "mean": models,
                "deviation": models,
                "alerting": {
                    "alerts_a_day": 12.0, "precision": 0.5, "recall": 0.4, "cards": 30, "cards_found": 0.6, "at_once": 0.2,
                    "seconds_to_alert": 5400.0,
                },
                "seeds": {
                    seed: {
                        "transactions": 1000, "frauds": 10, "test_transactions": 100, "test_frauds": 1,
                        "measures": models,
                    }
                    for seed in ("0", "1")
                },
            },
        }
    )  # fmt: skip
    publish(result, tmp_path / "result.json", tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert "| random forest | 0.900 ± 0.900 (0.867) | 0.640 ± 0.640 (0.658) | 0.300 ± 0.300 (0.287) |" in page
    assert "- average precision: 0.640, published 0.658: **not reached**" in page
    assert "- card precision@100: 0.300, published 0.291: reached" in page
    assert "| logistic regression | +0.000 ± 0.000 |" in page
    assert "| median time from a card's first fraud to its alert | 1.5 h |" in page
    assert results.read(tmp_path / "result.json")["fraud"]["figures"]["chosen"] == "forest"
