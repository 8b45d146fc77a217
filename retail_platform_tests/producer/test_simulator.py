"""The simulated retailer is believable, valid, and the same for the same seed."""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter, defaultdict
from itertools import islice, pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from retail_platform.errors import RetailError
from retail_platform.producer.message import Message
from retail_platform.producer.simulator import Plan, simulate
from retail_platform.producer.simulator.fraud import truth
from retail_platform.producer.simulator.retailer import open_retailer
from retail_platform.producer.simulator.stores import kilometres
from retail_platform_tests.producer.contract_validator import problems

DAY = dt.datetime(2026, 3, 2, tzinfo=dt.UTC)
FAULTS: dict[str, Any] = {
    "duplicates": 0.02,
    "late": 0.02,
    "out_of_order": 0.02,
    "malformed": 0.05,
    "fraud": 0.02,
}
MALFORMED = {
    "not_json", "truncated", "invalid_utf8", "missing_field", "wrong_type", "wrong_enum", "negative_price",
    "too_many_items", "future_event_time", "tombstone",
}  # fmt: skip


def plan(**values: Any) -> Plan:
    return Plan(**({"start": DAY, "events": 5000, "seed": 3} | values))


def event(message: Message) -> dict[str, Any]:
    return json.loads(message.value or b"null")


def when(message: Message) -> dt.datetime:
    return dt.datetime.fromisoformat(event(message)["event_time"])


@pytest.fixture(scope="module")
def trading_day() -> list[Message]:
    return list(simulate(plan(events=20_000, **FAULTS)))


@given(
    seed=st.integers(min_value=0, max_value=2**40),
    stores=st.integers(min_value=1, max_value=60),
    customers=st.integers(min_value=1, max_value=300),
    products=st.integers(min_value=1, max_value=100),
    start=st.datetimes(dt.datetime(2011, 1, 1), dt.datetime(2026, 1, 1), timezones=st.just(dt.UTC)),  # noqa: DTZ001
    hours=st.floats(min_value=0.01, max_value=100),
    live=st.booleans(),
)
@hypothesis_settings(max_examples=60, deadline=None)
def test_every_event_that_is_not_malformed_satisfies_its_contract(
    seed: int, stores: int, customers: int, products: int, start: dt.datetime, hours: float, live: bool
) -> None:
    simulation = Plan(
        start=start, duration=dt.timedelta(hours=hours), events=250, live=live, seed=seed, stores=stores,
        customers=customers, products=products, **FAULTS,
    )  # fmt: skip
    for message in simulate(simulation):
        if not message.label.startswith("malformed"):
            assert problems(message) == [], message


@given(seed=st.integers(), events=st.integers(min_value=1, max_value=300))
@hypothesis_settings(max_examples=30, deadline=None)
def test_the_same_seed_gives_the_same_bytes(seed: int, events: int) -> None:
    one, two = (list(simulate(plan(seed=seed, events=events, customers=50, products=20, **FAULTS))) for _ in range(2))
    assert one == two


def test_another_seed_gives_other_events() -> None:
    assert {m.value for m in simulate(plan(events=100))}.isdisjoint(
        {m.value for m in simulate(plan(events=100, seed=4))}
    )


def test_two_days_of_one_seed_have_the_same_stores_and_no_number_in_common() -> None:
    monday = [event(m) for m in simulate(plan())]
    tuesday = [event(m) for m in simulate(plan(start=DAY + dt.timedelta(days=1)))]
    assert {e["store_id"] for e in monday} == {e["store_id"] for e in tuesday}
    for name in ("event_id", "transaction_id"):
        assert {e[name] for e in monday if name in e}.isdisjoint({e[name] for e in tuesday if name in e})


def test_it_is_made_lazily() -> None:
    assert len(list(islice(simulate(plan(events=10**12, duration=dt.timedelta(days=30))), 10))) == 10


def test_there_are_as_many_events_as_asked_and_duplicates_on_top(trading_day: list[Message]) -> None:
    labels = Counter(message.label for message in trading_day)
    assert labels.total() - labels["duplicate"] == 20_000


@pytest.mark.parametrize("label", ["duplicate", "late", "out_of_order", "fraud", "malformed"])
def test_each_fault_comes_about_as_often_as_asked(trading_day: list[Message], label: str) -> None:
    asked = {"duplicate": 0.02, "late": 0.02, "out_of_order": 0.02, "malformed": 0.05, "fraud": 0.02}[label]
    found = sum(message.label.split(":")[0] == label for message in trading_day) / 20_000
    assert asked * 0.6 < found < asked * 1.4


def test_event_ids_are_version_7_of_the_event_time_and_unique(trading_day: list[Message]) -> None:
    valid = [m for m in trading_day if not m.label.startswith("malformed") and m.label != "duplicate"]
    ids = [event(m)["event_id"] for m in valid]
    assert len(set(ids)) == len(ids)
    for message, event_id in zip(valid, ids, strict=True):
        assert event_id[14] == "7"
        assert int(event_id.replace("-", "")[:12], 16) == round(when(message).timestamp() * 1000)


def test_a_duplicate_is_the_same_bytes_again_near_or_far(trading_day: list[Message]) -> None:
    first: dict[bytes | None, int] = {}
    gaps = []
    for position, message in enumerate(trading_day):
        if message.label == "duplicate":
            gaps.append(position - first[message.value])
        first.setdefault(message.value, position)
    assert min(gaps) <= 20
    assert max(gaps) > 900


def test_without_late_and_out_of_order_events_times_only_grow_but_for_planned_ones(trading_day: list[Message]) -> None:
    plain = [m for m in trading_day if m.label == "transaction"]
    assert all(when(one) <= when(other) for one, other in pairwise(plain))
    overtaken = [(one, other) for one, other in pairwise(trading_day) if other.label == "out_of_order"]
    assert any(event(one) and when(other) < when(one) for one, other in overtaken if one.label == "transaction")


def test_a_late_event_is_sent_at_least_an_hour_after_its_time_and_stays_in_the_window(
    trading_day: list[Message],
) -> None:
    for message in trading_day:
        if message.label == "late":
            sent = DAY + dt.timedelta(seconds=message.due)
            assert dt.timedelta(hours=1) <= sent - when(message)
            assert when(message) >= DAY


def test_every_way_of_being_malformed_occurs_and_none_is_valid(trading_day: list[Message]) -> None:
    broken = [m for m in trading_day if m.label.startswith("malformed:")]
    assert {m.label.removeprefix("malformed:") for m in broken} == MALFORMED
    assert all(problems(m) for m in broken)


def test_stores_trade_in_their_own_opening_hours(trading_day: list[Message]) -> None:
    tills = [m for m in trading_day if m.label == "transaction" and event(m)["channel"] == "pos"]
    assert {when(m).hour for m in tills} <= set(range(8, 21))
    assert {when(m).utcoffset() for m in tills} > {dt.timedelta(hours=-8), dt.timedelta(hours=1)}


def test_saturday_is_busier_in_the_stores_than_monday() -> None:
    week = simulate(plan(events=20_000, duration=dt.timedelta(days=7), stores=5))
    days = Counter(when(m).weekday() for m in week if event(m).get("channel") == "pos")
    assert days[5] > 1.4 * days[0]


def test_live_events_come_evenly_whatever_the_hour() -> None:
    night = plan(start=DAY.replace(hour=3), live=True, events=6000, duration=dt.timedelta(minutes=10))
    minutes = Counter(int(message.due // 60) for message in simulate(night))
    assert set(minutes.values()) == {600}


def test_customers_come_back_with_their_card_on_another_day_mostly_and_never_all_day_long() -> None:
    cards = defaultdict(set)
    visits: Counter[str] = Counter()
    of_a_day: Counter[tuple[str, dt.date]] = Counter()
    # So much trade for so few customers that each comes whenever they would.
    for message in simulate(plan(events=20_000, duration=dt.timedelta(days=14), customers=200, returns=0)):
        body = event(message)
        if "customer_id" in body and "card_token" in body["payment"]:
            cards[body["customer_id"]].add(body["payment"]["card_token"])
            visits[body["customer_id"]] += 1
            of_a_day[body["customer_id"], when(message).date()] += 1
    assert visits.most_common(1)[0][1] > 10
    assert all(len(tokens) == 1 for tokens in cards.values())
    assert max(of_a_day.values()) <= 5
    assert sum(count == 1 for count in of_a_day.values()) > 0.8 * len(of_a_day)


def test_a_return_refers_to_an_earlier_sale_of_the_store_and_gives_back_what_was_bought() -> None:
    sales: dict[str, dict[str, Any]] = {}
    returns = 0
    for message in simulate(plan(returns=0.2)):
        body = event(message)
        if body.get("event_type") == "sale":
            sales[body["transaction_id"]] = body
        elif "event_type" in body:
            returns += 1
            sale = sales.pop(body["original_transaction_id"])
            assert body["store_id"] == sale["store_id"]
            assert all(item in sale["items"] for item in body["items"])
    assert returns > 500


def test_online_orders_are_picked_up_in_stores_of_the_same_currency() -> None:
    stores = {store.id: store for store in open_retailer(plan()).stores}
    picked = [event(m) for m in simulate(plan()) if b"fulfilment_store_id" in (m.value or b"")]
    assert len(picked) > 50
    for body in picked:
        assert body["channel"] == "ecommerce"
        assert stores[body["fulfilment_store_id"]].currency == body["currency"]


def test_promotions_take_a_round_percentage_off_some_lines(trading_day: list[Message]) -> None:
    lines = [line for m in trading_day if m.label == "transaction" for line in event(m)["items"]]
    promoted = [line for line in lines if line["discount"] != "0.00"]
    assert 0.02 < len(promoted) / len(lines) < 0.3


def test_every_transfer_out_arrives_once_elsewhere_later() -> None:
    legs = defaultdict(list)
    for message in simulate(plan(movements=0.5)):
        body = event(message)
        if str(body.get("movement")).startswith("transfer"):
            legs[body["reference"]].append((when(message), body))
    assert len(legs) > 100
    for (left, out), (arrived, into) in legs.values():
        assert (out["movement"], into["movement"]) == ("transfer_out", "transfer_in")
        assert out["quantity"] == -into["quantity"]
        assert out["store_id"] != into["store_id"]
        assert left <= arrived


def test_every_kind_of_movement_occurs_with_its_sign() -> None:
    signs = defaultdict(set)
    for message in simulate(plan(movements=0.5)):
        body = event(message)
        if "movement" in body:
            signs[body["movement"]].add((body["quantity"] > 0) - (body["quantity"] < 0))
    assert signs["receipt"] == signs["transfer_in"] == {1}
    assert signs["shrinkage"] == signs["transfer_out"] == {-1}
    assert signs["adjustment"] == {1, -1}
    assert 1 in signs["count"]


def fraud_patterns(messages: list[Message]) -> dict[str, list[tuple[str, dict[str, Any]]]]:
    patterns = defaultdict(list)
    for message in messages:
        line = truth(message)
        if line is not None:
            entry = json.loads(line)
            assert entry["event_id"] == event(message)["event_id"]
            patterns[entry["pattern_id"]].append((entry["kind"], event(message)))
    return patterns


def span(events: list[dict[str, Any]]) -> dt.timedelta:
    times = [dt.datetime.fromisoformat(e["event_time"]) for e in events]
    return max(times) - min(times)


@pytest.mark.parametrize("events", [20_000, 1_000])
def test_fraud_keeps_to_its_patterns(events: int) -> None:
    simulation = plan(events=events, fraud=0.05)
    stores = {store.id: store for store in open_retailer(simulation).stores}
    kinds = set()
    for entries in fraud_patterns(list(simulate(simulation))).values():
        kind = entries[0][0]
        bodies = [body for _, body in entries]
        kinds.add(kind)
        assert len({body["payment"]["card_token"] for body in bodies}) == 1
        if kind == "card_testing":
            assert len(bodies) >= 10
            assert span(bodies) <= dt.timedelta(minutes=10)
            assert len({body["store_id"] for body in bodies}) >= 2
            assert all(float(body["items"][0]["unit_price"]) < 3 for body in bodies)
        if kind == "velocity":
            assert len(bodies) >= 8
            assert span(bodies) <= dt.timedelta(minutes=5)
        if kind == "impossible_travel":
            one, other = (stores[body["store_id"]] for body in bodies)
            assert kilometres(one, other) > 800
            assert span(bodies) <= dt.timedelta(hours=1)
        if kind == "unusual_amount":
            assert bodies[0]["items"][0]["quantity"] >= 20
    assert kinds == {"card_testing", "velocity", "impossible_travel", "unusual_amount"}


def test_a_retailer_with_neighbouring_stores_only_has_no_impossible_travel() -> None:
    kinds = {m.label for m in simulate(plan(stores=1, fraud=0.1)) if m.label.startswith("fraud")}
    assert kinds == {"fraud:card_testing", "fraud:velocity", "fraud:unusual_amount"}


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"start": dt.datetime(2026, 3, 2)}, "time zone"),  # noqa: DTZ001
        ({"duration": dt.timedelta(0)}, "duration"),
        ({"rate": 5.0}, "either a number of events or a rate"),
        ({"events": None}, "either a number of events or a rate"),
        ({"events": 0}, "no event"),
        ({"stores": 0}, "stores"),
        ({"late": 1.5}, "late"),
        ({"malformed": 0.6, "duplicates": 0.6}, "more than 1"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused_by_name(values: dict[str, Any], named: str) -> None:
    with pytest.raises(RetailError, match=named):
        plan(**values)


def test_a_rate_over_a_duration_gives_the_number_of_events() -> None:
    assert plan(events=None, rate=2.5, duration=dt.timedelta(seconds=10)).count == 25
