"""A store's risk from labels that come days after the purchases."""

import datetime as dt
import json
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from retail_platform.reactions.fraud import stores
from retail_platform.reactions.fraud.delayed import Counts
from retail_platform.reactions.fraud.labels import Label
from retail_platform_tests.reactions.fraud_sales import sale

FEW = settings(max_examples=20, deadline=None)
DAY = 86_400


def label(number, event, verdict="confirmed", days=7):
    return Label(
        f"label-{number}",
        event.event_time + dt.timedelta(days=days),
        event.event_id,
        event.event_time,
        event.store_id,
        verdict,
    )


def sold(*events):
    counts, raised = Counts(), []
    for event in events:
        counts, new = stores.step(counts, event)
        raised += new
    return counts, raised


PURCHASES = [sale(number, number * 3_600) for number in range(10)]
A_WEEK_LATER = sale(99, 8 * DAY)


def learned(counts, *labels):
    for one in labels:
        counts = stores.learn(counts, one)
    return counts


def test_a_store_where_most_was_fraud_is_risky_once_the_labels_are_in():
    counts = learned(sold(*PURCHASES)[0], *(label(number, event) for number, event in enumerate(PURCHASES[:7])))
    _, (alert,) = stores.step(counts, A_WEEK_LATER)
    evidence = json.loads(alert.message()["evidence"])
    assert (evidence["purchases"], evidence["confirmed"]) == (10, 7)
    assert evidence["smoothed_share"] == "0.3542"  # (7 + 0.0084 · 10) / (10 + 10)
    assert alert.message()["score"] == "0.3000"
    assert UUID(alert.alert_id).version == 5


def test_what_is_younger_than_the_delay_of_labels_does_not_count():
    counts = learned(sold(*PURCHASES)[0], *(label(number, event) for number, event in enumerate(PURCHASES[:7])))
    assert stores.step(counts, sale(99, 6 * DAY))[1] == ()


def test_what_is_older_than_the_window_does_not_count():
    counts = learned(sold(*PURCHASES)[0], *(label(number, event) for number, event in enumerate(PURCHASES[:7])))
    assert stores.step(counts, sale(99, 36 * DAY))[1] == ()


def test_few_frauds_in_a_small_store_are_no_alarm():
    counts = learned(sold(*PURCHASES[:2])[0], *(label(number, event) for number, event in enumerate(PURCHASES[:2])))
    assert stores.step(counts, A_WEEK_LATER)[1] == ()


def test_a_verdict_that_is_taken_back_counts_no_more():
    frauds = [label(number, event) for number, event in enumerate(PURCHASES[:7])]
    taken_back = [label(100 + number, PURCHASES[number], "dismissed", days=8) for number in range(2)]
    counts = learned(sold(*PURCHASES)[0], *frauds, *taken_back)
    assert stores.step(counts, A_WEEK_LATER)[1] == ()


def test_a_verdict_on_a_day_that_is_no_longer_kept_changes_no_count():
    counts = sold(*PURCHASES, sale(50, 60 * DAY))[0]
    assert learned(counts, label(1, PURCHASES[0])).frauds == ()


@FEW
@given(
    seconds=st.lists(st.integers(0, 50 * DAY), max_size=20),
    frauds=st.lists(st.tuples(st.integers(0, 19), st.sampled_from(["confirmed", "dismissed"])), max_size=10),
)
def test_duplicates_change_nothing_and_a_stored_state_is_the_same(seconds, frauds):
    sales = [sale(number, second) for number, second in enumerate(seconds)]
    labels = [
        label(number, sales[which], verdict) for number, (which, verdict) in enumerate(frauds) if which < len(sales)
    ]
    counts = learned(sold(*sales)[0], *labels)
    for event in sales:
        assert stores.step(counts, event) == (counts, ())
    assert learned(counts, *labels) == counts
    assert stores.unpacked(json.loads(json.dumps(counts.packed()))) == counts
    assert stores.unpacked(None) == Counts()


@FEW
@given(seconds=st.lists(st.integers(0, 400 * DAY), max_size=60))
def test_a_store_keeps_no_more_days_than_its_window_and_delay(seconds):
    counts, _ = sold(*(sale(number, second) for number, second in enumerate(seconds)))
    assert len(counts.buckets) <= 36
    assert all(counts.buckets[-1] - bucket <= 35 for bucket in counts.buckets)


def test_returns_and_cash_are_not_counted():
    assert sold(sale(1, event_type="return"), sale(2, card_token=None)) == (Counts(), [])
