"""The card rules: golden cases, and what holds of any card's purchases in any order."""

import datetime as dt
import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retail_platform.contracts import TRANSACTIONS
from retail_platform.contracts.judge import judge
from retail_platform.contracts.reactions import FRAUD_ALERTS
from retail_platform.producer.simulator import Plan, simulate
from retail_platform.producer.simulator.fraud import truth
from retail_platform.reactions.events import Transaction, transaction
from retail_platform.reactions.fraud import cards
from retail_platform.reactions.fraud.alerts import Alert, alert_id
from retail_platform.reactions.fraud.geography import kilometres
from retail_platform.reactions.fraud.measures import CRITERIA
from retail_platform.reactions.fraud.parameters import DEFAULT, Parameters
from retail_platform.reactions.fraud.scoring import noisy_or, severity
from retail_platform.reactions.fraud.state import State, main_category, unpacked
from retail_platform_tests.reactions.fraud_sales import LONDON, NEW_YORK, NOON, READING, sale

FEW = settings(max_examples=20, deadline=None)

SALES = st.lists(
    st.builds(
        lambda seconds, cents, store, till, place, channel: {
            "seconds": seconds,
            "amount": Decimal(cents) / 100,
            "store_id": f"S{store}",
            "register_id": till,
            "place": place,
            "channel": channel,
        },
        seconds=st.integers(0, 3 * 86_400),
        cents=st.integers(1, 200_000),
        store=st.integers(1, 4),
        till=st.sampled_from(["1", "2", None]),
        place=st.sampled_from([LONDON, NEW_YORK, READING, (None, None)]),
        channel=st.sampled_from(["pos", "ecommerce"]),
    ),
    max_size=25,
).map(lambda drawn: [sale(number, **values) for number, values in enumerate(drawn)])


def run(
    sales: Iterable[Transaction], parameters: Parameters = DEFAULT, state: State | None = None
) -> tuple[State, list[Alert]]:
    state, raised = state or State(), []
    for event in sales:
        state, new = cards.step(state, event, event.amount, parameters)
        raised += new
    return state, raised


def raised_by(rule: str, sales: Iterable[Transaction], parameters: Parameters = DEFAULT) -> list[Alert]:
    return [alert for alert in run(sales, parameters)[1] if alert.hit.rule == rule]


# --- Distance ---------------------------------------------------------------------------------------------------------


def test_london_to_new_york_is_5570_kilometres():
    assert kilometres(*LONDON, *NEW_YORK) == pytest.approx(5570.2, abs=0.5)


@FEW
@given(*[st.floats(-90, 90), st.floats(-180, 180)] * 2)
def test_a_distance_is_the_same_both_ways_and_at_most_half_the_earth(north, east, other_north, other_east):
    there = kilometres(north, east, other_north, other_east)
    assert there == pytest.approx(kilometres(other_north, other_east, north, east), abs=1e-6)
    assert 0 <= there <= 20_015.2


# --- Velocity and card testing ----------------------------------------------------------------------------------------


def test_the_sixth_purchase_in_an_hour_is_the_first_to_hit():
    sales = [sale(number, number * 700) for number in range(6)]
    assert raised_by("velocity_1h", sales[:5]) == []
    (alert,) = raised_by("velocity_1h", sales)
    assert alert.transaction_event_id == sales[5].event_id
    assert alert.hit.evidence == {"purchases": 6, "threshold_purchases": 6, "window_seconds": 3600}


def test_six_purchases_over_an_hour_exactly_are_no_velocity():
    assert raised_by("velocity_1h", [sale(number, number * 720) for number in range(6)]) == []


def test_twenty_purchases_in_a_day_hit_though_no_hour_is_full():
    sales = [sale(number, number * 4_000) for number in range(20)]
    assert {alert.hit.rule for alert in run(sales)[1]} == {"velocity_24h"}


def test_four_small_purchases_over_two_stores_in_ten_minutes_are_card_testing():
    sales = [sale(number, number * 60, amount=Decimal("1.99"), store_id=f"S{number % 2}") for number in range(4)]
    (alert,) = raised_by("card_testing", sales)
    assert (alert.hit.evidence["stores"], alert.hit.evidence["first_stores"]) == (2, ["S0", "S1"])
    assert alert.hit.evidence["threshold_amount_usd"] == "5"


@pytest.mark.parametrize(
    "change", [{"store_id": "S1"}, {"amount": Decimal("5.01")}], ids=["in one store", "of larger amounts"]
)
def test_the_same_purchases_are_no_card_testing(change):
    usual = {"amount": Decimal("1.99")}
    sales = [sale(number, number * 60, **(usual | {"store_id": f"S{number % 2}"} | change)) for number in range(4)]
    assert raised_by("card_testing", sales) == []


@FEW
@given(sales=SALES, data=st.data())
def test_whether_a_burst_is_found_does_not_depend_on_the_order_of_arrival(sales, data):
    few = replace(
        DEFAULT,
        velocity_1h=replace(DEFAULT.velocity_1h, purchases=3),
        card_testing=replace(DEFAULT.card_testing, most_usd=Decimal(900), seconds=7_200, purchases=2),
    )
    other = data.draw(st.permutations(sales))
    for rule in ("velocity_1h", "card_testing"):
        assert bool(raised_by(rule, sales, few)) == bool(raised_by(rule, other, few))


# --- Impossible travel ------------------------------------------------------------------------------------------------


def test_new_york_an_hour_after_london_is_impossible():
    (alert,) = raised_by("impossible_travel", [sale(1, 0, place=LONDON), sale(2, 3_600, place=NEW_YORK, store_id="S2")])
    evidence = alert.hit.evidence
    # 5,570.2 km, less 100, in an hour and five minutes.
    assert evidence["least_speed_kmh"] == pytest.approx(5470.2 * 60 / 65, abs=0.5)
    assert (evidence["from_store_id"], evidence["to_store_id"], evidence["elapsed_seconds"]) == ("S1", "S2", 3600.0)


@pytest.mark.parametrize(
    "second",
    [
        sale(2, 8 * 3_600, place=NEW_YORK),
        sale(2, 0, place=READING),
        sale(2, 60, place=NEW_YORK, channel="ecommerce"),
        sale(2, 60),
    ],
    ids=["by air", "nearby at the same moment", "in the web shop", "at a till without a place"],
)
def test_a_possible_trip_raises_nothing(second):
    assert raised_by("impossible_travel", [sale(1, 0, place=LONDON), second]) == []


def test_what_clocks_that_disagree_by_five_minutes_explain_raises_nothing_and_a_little_farther_does():
    def north(kilometers: float, seconds: float):
        return sale(2, seconds, place=(LONDON[0] + kilometers / 111.195, LONDON[1]))

    # In five minutes 58 km, and 100 km by which the places may be told wrong.
    for kilometers, seconds, alerts in ((157, 0, 0), (160, 0, 1), (215, 300, 0), (218, 300, 1)):
        first = sale(1, 0, place=LONDON)
        assert len(raised_by("impossible_travel", [first, north(kilometers, seconds)])) == alerts


def test_a_late_purchase_is_judged_against_the_one_that_followed_it():
    (alert,) = raised_by("impossible_travel", [sale(2, 3_600, place=NEW_YORK), sale(1, 0, place=LONDON)])
    assert alert.transaction_event_id == sale(1).event_id
    assert alert.hit.evidence["to_event_id"] == sale(2).event_id


@FEW
@given(sales=SALES, data=st.data())
def test_every_impossible_pair_of_consecutive_purchases_is_found_in_any_order(sales, data):
    arrived = data.draw(st.permutations(sales))
    place = {event.event_id: number for number, event in enumerate(arrived)}
    found = {alert.transaction_event_id for alert in raised_by("impossible_travel", arrived)}
    for one, other in _consecutive(sales):
        distance = kilometres(one.latitude, one.longitude, other.latitude, other.longitude)
        hours = ((other.event_time - one.event_time).total_seconds() + 300) / 3600
        if (distance - 100) / hours > 700.1:
            assert max(one.event_id, other.event_id, key=place.__getitem__) in found


def _consecutive(sales: Sequence[Transaction]) -> list[tuple[Transaction, Transaction]]:
    placed = [event for event in sales if event.channel == "pos" and event.latitude is not None]
    ordered = sorted(placed, key=lambda event: (event.event_time, event.event_id))
    return list(pairwise(ordered))


# --- Amounts and first-seen places ------------------------------------------------------------------------------------


def history(*amounts: int) -> list[Transaction]:
    return [sale(number, number * 86_400, amount=Decimal(amount)) for number, amount in enumerate(amounts)]


USUAL = history(20, 30, 40, 50, 60, 70, 80, 90, 100)  # median 60, MAD 20


def test_an_amount_is_measured_by_the_modified_z_score_of_the_cards_own_amounts():
    (alert,) = raised_by("unusual_amount", [*USUAL, sale(99, 10**6, amount=Decimal(860))])
    evidence = alert.hit.evidence
    assert (evidence["basis"], evidence["median_usd"], evidence["mad_usd"]) == ("card", "60", "20")
    assert evidence["robust_z"] == pytest.approx(0.6745 * (860 - 60) / 20, abs=0.005)  # 26.98


def test_an_amount_under_the_threshold_of_z_is_usual():
    assert raised_by("unusual_amount", [*USUAL, sale(99, 10**6, amount=Decimal(650))]) == []


def test_a_card_that_always_pays_the_same_is_not_alarmed_by_a_little_more():
    same = history(*[400] * 10)
    assert raised_by("unusual_amount", [*same, sale(99, 10**6, amount=Decimal(420))]) == []


def test_a_card_without_history_is_measured_by_its_category():
    amount = Decimal(1500)
    (alert,) = raised_by("unusual_amount", [sale(1, category="Grocery", amount=amount)])
    assert alert.hit.evidence["basis"] == "category Grocery"
    assert raised_by("unusual_amount", [sale(1, category="Electronics", amount=amount)]) == []
    (alert,) = raised_by("unusual_amount", [sale(1, category=None, amount=amount)])
    assert alert.hit.evidence["basis"] == "all categories"


def test_the_main_category_is_the_one_that_most_of_the_money_is_for():
    coffee, lamp = sale(1, category="Grocery", amount=Decimal(9)), sale(1, category="Home", amount=Decimal(8))
    both = replace(coffee, lines=(*lamp.lines, *coffee.lines))
    assert main_category(both) == "Grocery"
    assert main_category(replace(both, lines=(*lamp.lines, *both.lines))) == "Home"


def test_a_high_amount_in_a_new_store_hits_and_a_low_one_does_not():
    high = sale(99, 10**6, amount=Decimal(350), store_id="S9")
    raised = {alert.hit.rule for alert in run([*USUAL, high])[1]}
    assert raised == {"first_seen_store", "first_seen_device"}
    assert run([*USUAL, replace(high, lines=sale(1).lines)])[1] == []
    assert run([*USUAL, replace(high, store_id="S1")])[1] == []


def test_a_high_amount_at_a_new_till_of_a_known_store_hits_the_device_rule_only():
    raised = run([*USUAL, sale(99, 10**6, amount=Decimal(350), register_id="7")])[1]
    assert [alert.hit.rule for alert in raised] == ["first_seen_device"]


def test_a_purchase_without_an_exchange_rate_is_nothing_to_the_rules_of_amounts():
    small = [sale(number, number, amount=Decimal(1), store_id=f"S{number}", place=LONDON) for number in range(8)]
    state = State()
    for event in small:
        state, raised = cards.step(state, event, None)
        assert {alert.hit.rule for alert in raised} <= {"velocity_1h"}
    assert unpacked(json.loads(json.dumps(state.packed()))) == state
    (alert,) = cards.step(state, sale(9, 9_000, amount=Decimal(9_000)), Decimal(9_000))[1]
    assert alert.hit.evidence["basis"] == "category Grocery"


# --- Score, shadow, ids -----------------------------------------------------------------------------------------------


def test_two_hits_of_60_and_50_percent_make_80():
    assert noisy_or([Decimal("0.6"), Decimal("0.5")]) == Decimal("0.8000")
    assert noisy_or([]) == 0


@FEW
@given(
    known=st.lists(st.decimals(0, 1, places=2), max_size=7),
    another=st.decimals(0, 1, places=2),
)
def test_a_score_lies_between_0_and_1_and_never_falls_when_another_rule_hits(known, another):
    assert 0 <= noisy_or(known) <= noisy_or([*known, another]) <= 1


def test_severity_follows_the_score():
    scores = (Decimal("0.4999"), Decimal("0.5"), Decimal("0.7999"), Decimal("0.8"))
    assert [severity(score, DEFAULT) for score in scores] == ["low", "medium", "medium", "high"]


def test_a_rule_in_shadow_is_sent_marked_and_never_counts_in_the_score():
    sales = [sale(1, 0, place=LONDON), sale(2, 60, place=NEW_YORK, amount=Decimal(9_000), category="Grocery")]
    shadow = replace(DEFAULT, impossible_travel=replace(DEFAULT.impossible_travel, shadow=True))
    messages = {m["rule"]: m for m in (alert.message() for alert in run(sales, shadow)[1])}
    assert messages["impossible_travel"]["shadow"] == "yes"
    assert messages["unusual_amount"]["shadow"] == "no"
    assert {m["score"] for m in messages.values()} == {"0.5000"}
    assert {alert.message()["score"] for alert in run(sales)[1]} == {"0.9000"}


def test_every_alert_fits_its_contract_even_after_a_round_through_128_stores():
    parameters = replace(DEFAULT, velocity_1h=replace(DEFAULT.velocity_1h, purchases=1))
    name = "store-" + "x" * 90
    sales = [
        sale(number, number, amount=Decimal("0.5"), store_id=f"{name}{number:03d}", place=(number % 80, 0))
        for number in range(140)
    ]
    raised = run(sales, parameters)[1]
    assert {alert.hit.rule for alert in raised} == {"velocity_1h", "velocity_24h", "card_testing", "impossible_travel"}
    for alert in raised:
        value = json.dumps(alert.message()).encode()
        assert judge(FRAUD_ALERTS, value, NOON, "UTC", dt.date(2010, 1, 1)).reasons == ()


def test_an_alert_says_what_when_where_and_why():
    (alert,) = raised_by("impossible_travel", [sale(1, 0, place=LONDON), sale(2, 1.5, place=NEW_YORK)])
    message = alert.message()
    evidence = json.loads(message.pop("evidence"))
    assert UUID(message["event_id"]).version == 5
    assert message == {
        "event_id": alert_id("impossible_travel", sale(2).event_id),
        "event_time": "2026-03-02T12:00:01.500000Z",
        "transaction_event_id": sale(2).event_id,
        "transaction_id": "T2",
        "card_token": "card-1",
        "store_id": "S1",
        "rule": "impossible_travel",
        "rule_version": "1",
        "parameter_version": DEFAULT.version,
        "score": "0.8000",
        "severity": "high",
        "shadow": "no",
    }
    assert evidence["from_event_id"] == sale(1).event_id
    assert evidence["threshold_speed_kmh"] == 700.0


# --- State ------------------------------------------------------------------------------------------------------------


@FEW
@given(sales=SALES)
def test_a_duplicate_changes_nothing_and_raises_nothing(sales):
    state, _ = run(sales)
    for event in sales:
        assert cards.step(state, event, event.amount) == (state, ())


@FEW
@given(sales=SALES, at=st.integers(0, 25))
def test_a_state_that_was_stored_as_json_goes_on_as_if_it_had_not_been(sales, at):
    before, raised = run(sales[:at])
    restored = unpacked(json.loads(json.dumps(before.packed())))
    assert restored == before
    assert raised + run(sales[at:], state=restored)[1] == run(sales)[1]


def test_a_state_is_bounded_by_the_purchases_that_are_remembered():
    small = replace(DEFAULT, remembered=5)
    sales = [sale(number, number) for number in range(9)]
    state, _ = run(sales, small)
    assert [purchase.event_id for purchase in state.purchases] == [event.event_id for event in sales[-5:]]
    assert unpacked(None) == State()


def test_returns_and_payments_without_a_card_are_no_purchases():
    assert run([sale(1, event_type="return"), sale(2, card_token=None, method="cash")]) == (State(), [])


# --- The simulated retailer -------------------------------------------------------------------------------------------


def test_planted_fraud_of_every_kind_is_found_among_a_retailers_days():
    plan = Plan(
        start=NOON - dt.timedelta(hours=12), duration=dt.timedelta(days=20), events=4_000, seed=5, fraud=0.03,
        duplicates=0.02, late=0.02, out_of_order=0.02,
    )  # fmt: skip
    planted, found = defaultdict(set), defaultdict(set)
    states: defaultdict[str, State] = defaultdict(State)
    for sent in simulate(plan):
        event = _event(sent)
        if event is None or event.card_token is None:
            continue
        states[event.card_token], raised = cards.step(states[event.card_token], event, event.amount)
        if told := truth(sent):
            labelled = json.loads(told)
            planted[labelled["kind"]].add(labelled["pattern_id"])
            rules = {alert.hit.rule.removesuffix("_1h") for alert in raised}
            found[labelled["kind"]] |= {labelled["pattern_id"]} if labelled["kind"] in rules else set()
    assert set(planted) == {"card_testing", "velocity", "impossible_travel", "unusual_amount"}
    for kind in ("card_testing", "velocity", "impossible_travel"):
        assert found[kind] == planted[kind]
    assert len(found["unusual_amount"]) >= math.ceil(0.7 * len(planted["unusual_amount"]))


def test_on_an_honest_day_no_rule_hits_as_much_as_the_release_criteria_allow():
    plan = Plan(start=NOON - dt.timedelta(hours=12), events=10_000, seed=5, late=0.01, out_of_order=0.02)
    states: defaultdict[str, State] = defaultdict(State)
    hits: Counter[str] = Counter()
    purchases = 0
    for sent in simulate(plan):
        event = _event(sent)
        if event is not None and event.card_token is not None:
            purchases += event.event_type == "sale"
            states[event.card_token], raised = cards.step(states[event.card_token], event, event.amount)
            hits.update(alert.hit.rule for alert in raised)
    assert purchases > 5_000
    assert all(count < CRITERIA.traffic * purchases for count in hits.values()), hits


def _event(sent) -> Transaction | None:
    if sent.topic != TRANSACTIONS.topic:
        return None
    judged = judge(TRANSACTIONS, sent.value, NOON + dt.timedelta(days=99), "UTC", dt.date(2010, 1, 1))
    return transaction(judged.event) if judged.event else None
