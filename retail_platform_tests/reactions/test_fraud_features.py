"""The features counted as purchases pass are those of a recomputation over all of them."""

import datetime as dt
import json
from dataclasses import replace
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from retail_platform.reactions.fraud import tills
from retail_platform.reactions.fraud.delayed import Counts
from retail_platform.reactions.fraud.features import (
    DEFAULT,
    NAMES,
    WINDOWS,
    CustomerState,
    Sale,
    cents,
    customer_step,
    terminal_learn,
    terminal_step,
    unpacked_customer,
    unpacked_terminal,
    vector,
)
from retail_platform.reactions.fraud.labels import Label
from retail_platform_tests.reactions import fraud_sales

FEW = settings(max_examples=30, deadline=None)
DAY = 86_400
MONDAY = int(dt.datetime(2026, 3, 2, tzinfo=dt.UTC).timestamp())
EXACT = replace(DEFAULT, terminal_seconds=1)

# Days apart on purpose: purchases on the very border of a window must fall on the right side.
SALES = st.lists(
    st.tuples(
        st.one_of(st.integers(0, 45 * DAY), st.integers(0, 45).map(lambda day: day * DAY)),
        st.integers(1, 50_000),
        st.booleans(),
    ),
    max_size=30,
).map(
    lambda drawn: [
        (Sale(str(number), MONDAY + second, cents), fraud)
        for number, (second, cents, fraud) in enumerate(sorted(drawn))
    ]
)


def label(of, days=7):
    moment = dt.datetime.fromtimestamp(of.seconds, dt.UTC)
    return Label(f"label-{of.event_id}", moment + dt.timedelta(days=days), of.event_id, moment, "S1", "confirmed")


def incremental(sales, parameters=EXACT):
    customer, terminal, coming, found = CustomerState(), Counts(), [], []
    for new, fraud in sales:
        while coming and coming[0].seconds + 7 * DAY <= new.seconds:
            terminal = terminal_learn(terminal, label(coming.pop(0)), parameters)
        customer, of_customer = customer_step(customer, new, parameters)
        terminal, of_terminal = terminal_step(terminal, new, parameters)
        coming += [new] if fraud else []
        found.append(vector(new, of_customer, of_terminal))
    return found


def brute_force(sales):
    found = []
    for place, (new, _) in enumerate(sales):
        known = sales[: place + 1]
        row = [new.cents / 100]
        moment = dt.datetime.fromtimestamp(new.seconds, dt.UTC)
        row += [float(f"{moment:%A}" in ("Saturday", "Sunday")), float(moment.hour <= 6)]
        for days in WINDOWS:
            cents = [other.cents for other, _ in known if new.seconds - days * DAY < other.seconds <= new.seconds]
            row += [len(cents), sum(cents) / 100 / len(cents)]
        for days in WINDOWS:
            until = new.seconds - 7 * DAY
            frauds = [fraud for other, fraud in known if until - days * DAY < other.seconds <= until]
            row += [len(frauds), sum(frauds) / len(frauds) if frauds else 0]
        found.append(tuple(row))
    return found


@FEW
@given(sales=SALES)
def test_incremental_features_equal_a_brute_force_recomputation(sales):
    assert incremental(sales) == brute_force(sales)


def test_the_features_of_a_small_history_are_these():
    sales = [(Sale("1", MONDAY + 3_600, 1_000), True), (Sale("2", MONDAY + 8 * DAY, 3_000), False)]
    assert dict(zip(NAMES, incremental(sales)[1], strict=True)) == {
        "amount": 30.0, "weekend": 0.0, "night": 1.0,
        "customer_purchases_1d": 1.0, "customer_mean_amount_1d": 30.0,
        "customer_purchases_7d": 1.0, "customer_mean_amount_7d": 30.0,
        "customer_purchases_30d": 2.0, "customer_mean_amount_30d": 20.0,
        "terminal_purchases_1d": 1.0, "terminal_risk_1d": 1.0,
        "terminal_purchases_7d": 1.0, "terminal_risk_7d": 1.0,
        "terminal_purchases_30d": 1.0, "terminal_risk_30d": 1.0,
    }  # fmt: skip


def test_saturday_and_six_in_the_morning_are_weekend_and_night():
    saturday = MONDAY + 5 * DAY
    flags = [vector(Sale("1", saturday + hour * 3_600, 1), (), ())[1:] for hour in (6, 7, 48 + 7)]
    assert flags == [(1.0, 1.0), (1.0, 0.0), (0.0, 0.0)]


@FEW
@given(sales=SALES)
def test_duplicates_change_nothing_and_stored_states_are_the_same(sales):
    customer, terminal = CustomerState(), Counts()
    for new, _ in sales:
        customer, terminal = customer_step(customer, new)[0], terminal_step(terminal, new)[0]
    for new, _ in sales:
        assert customer_step(customer, new) == (customer, ())
        assert terminal_step(terminal, new) == (terminal, ())
    assert unpacked_customer(json.loads(json.dumps(customer.packed()))) == customer
    assert unpacked_terminal(json.loads(json.dumps(terminal.packed()))) == terminal


def test_a_busy_till_and_a_busy_card_keep_a_bounded_state():
    customer, terminal = CustomerState(), Counts()
    for number in range(3_000):
        new = Sale(str(number), MONDAY + number * 1_800, 100)
        customer, terminal = customer_step(customer, new)[0], terminal_step(terminal, new)[0]
    assert len(customer.buckets) == 1_024
    assert len(terminal.buckets) == 37 * 24 + 1
    assert len(customer.recent) == len(terminal.recent) == 128


def test_a_late_purchase_sees_nothing_after_its_own_time():
    customer, _ = customer_step(CustomerState(), Sale("2", MONDAY + 3_600, 9_000))
    _, found = customer_step(customer, Sale("1", MONDAY, 1_000))
    assert found == (1.0, 10.0) * 3


def test_a_transaction_is_counted_in_whole_seconds_and_cents():
    bought = tills.from_transaction(fraud_sales.sale(1, 0.9), Decimal("12.345"))
    assert bought.sale == Sale(bought.purchase.event_id, int(fraud_sales.NOON.timestamp()), 1_235)
    assert cents(Decimal("12.344999")) == 1_234
