"""A store's risk from labels that come days after the purchases."""

import datetime as dt
import json
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from retail_platform.reactions.fraud import stores
from retail_platform.reactions.fraud.delayed import Counts
from retail_platform.reactions.fraud.labels import Label
from retail_platform.reactions.fraud.parameters import Parameters, StoreRisk
from retail_platform.reactions.fraud.purchases import from_transaction
from retail_platform_tests.reactions import fraud_sales

FEW = settings(max_examples=20, deadline=None)
DAY = 86_400


def sale(number, seconds=0):
    return from_transaction(fraud_sales.sale(number, seconds))


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


def told(counts, *events):
    """The counts after purchases and verdicts."""
    for event in events:
        counts, _ = stores.step(counts, event)
    return counts


def test_a_store_where_most_was_fraud_is_risky_once_the_labels_are_in():
    counts = told(sold(*PURCHASES)[0], *(label(number, event) for number, event in enumerate(PURCHASES[:7])))
    _, (alert,) = stores.step(counts, A_WEEK_LATER, Parameters("test", store_risk=StoreRisk()))
    evidence = json.loads(alert.message()["evidence"])
    assert (evidence["purchases"], evidence["confirmed"]) == (10, 7)
    assert evidence["smoothed_share"] == "0.3542"  # (7 + 0.0084 · 10) / (10 + 10)
    assert alert.message()["score"] == "0.3000"
    assert UUID(alert.alert_id).version == 5


def test_what_is_younger_than_the_delay_of_labels_does_not_count():
    counts = told(sold(*PURCHASES)[0], *(label(number, event) for number, event in enumerate(PURCHASES[:7])))
    assert stores.step(counts, sale(99, 6 * DAY))[1] == ()


def test_what_is_older_than_the_window_does_not_count():
    counts = told(sold(*PURCHASES)[0], *(label(number, event) for number, event in enumerate(PURCHASES[:7])))
    assert stores.step(counts, sale(99, 36 * DAY))[1] == ()


def test_few_frauds_in_a_small_store_are_no_alarm():
    counts = told(sold(*PURCHASES[:2])[0], *(label(number, event) for number, event in enumerate(PURCHASES[:2])))
    assert stores.step(counts, A_WEEK_LATER)[1] == ()


def test_a_verdict_that_is_taken_back_counts_no_more():
    frauds = [label(number, event) for number, event in enumerate(PURCHASES[:7])]
    taken_back = [label(100 + number, PURCHASES[number], "dismissed", days=8) for number in range(2)]
    counts = told(sold(*PURCHASES)[0], *frauds, *taken_back)
    assert stores.step(counts, A_WEEK_LATER)[1] == ()


def test_a_verdict_on_a_day_that_is_no_longer_kept_changes_no_count():
    counts = sold(*PURCHASES, sale(50, 60 * DAY))[0]
    assert told(counts, label(1, PURCHASES[0])).frauds == ()
    first = told(Counts(), label(1, PURCHASES[0]))
    assert len(first.frauds) == 1
    assert stores.step(first, sale(50, 60 * DAY))[0].frauds == ()


def test_a_fraud_of_a_day_whose_purchases_were_never_seen_does_not_count():
    counts = told(Counts(), *(label(number, event) for number, event in enumerate(PURCHASES)))
    assert stores.step(told(counts, sale(50, 2 * DAY)), A_WEEK_LATER)[1] == ()
    assert len(stores.step(told(counts, *PURCHASES), A_WEEK_LATER)[1]) == 1


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
    counts = told(sold(*sales)[0], *labels)
    for event in sales:
        assert stores.step(counts, event) == (counts, ())
    assert told(counts, *labels) == counts
    assert stores.unpacked(json.loads(json.dumps(counts.packed()))) == counts
    assert stores.unpacked(None) == Counts()


@FEW
@given(seconds=st.lists(st.integers(0, 400 * DAY), max_size=60))
def test_a_store_keeps_no_more_days_than_its_window_and_delay(seconds):
    counts, _ = sold(*(sale(number, second) for number, second in enumerate(seconds)))
    assert len(counts.buckets) <= 36
    assert all(counts.buckets[-1] - bucket <= 35 for bucket in counts.buckets)


@FEW
@given(
    events=st.lists(
        st.one_of(
            st.tuples(st.just("bought"), st.integers(0, 15), st.integers(0, 50)),
            st.tuples(st.sampled_from(["confirmed", "dismissed"]), st.integers(0, 15), st.integers(0, 50)),
        ),
        max_size=25,
        unique_by=lambda event: (event[0] == "bought", event[1]),
    ),
    random=st.randoms(use_true_random=False),
)
def test_in_whatever_order_purchases_and_verdicts_come_the_counts_are_the_same_in_the_end(events, random):
    of_day = {number: day for _, number, day in events}
    found = [
        sale(number, of_day[number] * DAY)
        if what == "bought"
        else label(number, sale(number, of_day[number] * DAY), what)
        for what, number, _ in events
    ]
    shuffled = random.sample(found, len(found))
    one, other = (told(Counts(), *order) for order in (found, shuffled))
    assert (one.buckets, one.purchases) == (other.buckets, other.purchases)
    for until in range(20_513, 20_600):
        assert one.within(until - 28, until) == other.within(until - 28, until)


def test_returns_and_cash_are_no_purchases_with_a_card():
    assert from_transaction(fraud_sales.sale(1, event_type="return")) is None
    assert from_transaction(fraud_sales.sale(2, card_token=None)) is None
