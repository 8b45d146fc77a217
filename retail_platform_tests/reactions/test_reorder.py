import datetime as dt
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from retail_platform.errors import SettingsError
from retail_platform.reactions.stock import daily_limit, demand, levels, policy, reorder
from retail_platform.reactions.stock.demand import History
from retail_platform.reactions.stock.levels import StockEvent, StockLevel
from retail_platform.reactions.stock.reorder import Parameters, ReorderRequest
from retail_platform.reactions.stock.terms import read_terms

MONDAY = dt.datetime(2026, 3, 2, 10, tzinfo=dt.UTC)


def test_the_golden_reorder_point() -> None:
    point = policy.reorder_point(100, 20, 7, 2, 0.95)
    assert (round(point.deviation, 1), round(point.safety_stock, 1), round(point.units, 1)) == (206.9, 340.3, 1040.3)


def test_the_golden_economic_order_quantity() -> None:
    assert round(policy.economic_order_quantity(36_500, 50, 2.5)) == 1208


def test_the_position_counts_what_is_ordered_and_what_is_promised() -> None:
    assert policy.stock_position(on_hand=10, on_order=24, backorders=3) == 31


@pytest.mark.parametrize(
    ("wanted", "pack", "minimum", "maximum", "quantity"),
    [(1, 12, 1, 100, 12), (25, 12, 1, 100, 36), (5, 12, 30, 100, 36), (500, 12, 1, 100, 96), (5, 12, 98, 100, 0)],
)
def test_orders_are_whole_case_packs_at_least_the_minimum_and_never_over_the_cap(
    wanted: float, pack: int, minimum: int, maximum: int, quantity: int
) -> None:
    assert policy.order_quantity(wanted, pack, minimum, maximum) == quantity


@hypothesis_settings(max_examples=200, deadline=None, derandomize=True)
@given(st.floats(0, 1e6), st.integers(1, 100), st.integers(1, 500), st.integers(1, 5000))
def test_no_order_breaks_the_suppliers_terms(wanted: float, pack: int, minimum: int, maximum: int) -> None:
    quantity = policy.order_quantity(wanted, pack, minimum, maximum)
    assert quantity % pack == 0
    assert quantity <= maximum
    assert quantity == 0 or quantity >= minimum


def test_terms_that_no_order_can_meet_are_refused() -> None:
    with pytest.raises(SettingsError, match="maximum_order"):
        Parameters("wrong", case_pack=24, maximum_order=12)
    with pytest.raises(SettingsError, match="service_level"):
        Parameters("wrong", service_level=95)


def history(*days: tuple[int, int, bool]) -> History:
    found = History()
    for day, sold, out in days:
        found = demand.recorded(found, day, sold, out=out, most_days=91)
    return found


def test_days_without_a_sale_are_days_of_demand_zero_and_today_is_left_out() -> None:
    assert demand.observed(history((1, 4, False), (4, 8, False), (5, 99, False))) == (4, 0, 0, 8)


def test_days_on_which_the_stock_was_out_are_left_out_until_it_is_back() -> None:
    out_for_days = history((1, 4, False), (2, 3, True), (5, 1, False), (6, 2, False), (7, 0, False))
    assert demand.observed(out_for_days) == (4, 2)


def test_a_late_sale_counts_on_its_own_day() -> None:
    assert demand.observed(history((1, 4, False), (3, 1, False), (2, 5, False), (4, 0, False))) == (4, 5, 1)


def test_a_history_keeps_the_latest_days_only_also_over_a_long_silence() -> None:
    found = history((1, 4, False), (100_000, 7, False))
    assert (len(found.units), found.units[-1], found.first_day) == (91, 7, 100_000 - 90)


def test_zero_days_lower_the_mean_and_widen_the_deviation() -> None:
    found = demand.estimated([10, 0, 10, 10, 0, 10, 10, 10], 0.1, 1.5)
    assert found is not None
    assert (found.mean, round(found.deviation, 4), found.method) == (7.5, 4.6291, "mean")


def test_croston_and_sba_by_hand() -> None:
    days = [0, 0, 6, 0, 0, 0, 4]
    assert demand.croston(days, 0.1) == pytest.approx(5.8 / 3.1)
    assert demand.syntetos_boylan(days, 0.1) == pytest.approx(0.95 * 5.8 / 3.1)
    assert demand.croston([0, 0], 0.1) == 0
    found = demand.estimated(days, 0.1, 1.32)
    assert found is not None
    assert found.method == "sba"


def test_sba_is_closer_than_croston_to_the_true_demand_of_a_sporadic_product() -> None:
    random = Random(7)
    errors = [0.0, 0.0]
    for _ in range(60):
        days = [random.randint(1, 9) if random.random() < 0.25 else 0 for _ in range(120)]
        errors[0] += demand.croston(days, 0.2) - 1.25
        errors[1] += demand.syntetos_boylan(days, 0.2) - 1.25
    assert abs(errors[1]) < abs(errors[0])


@dataclass
class Shop:
    """One store and product: the real levels and reorder rules, their states stored as JSON between events."""

    parameters: Parameters
    levels_state: str = "null"
    reorder_state: str = "null"
    number: int = 0
    on_hand: int = 0

    def take(self, moment: dt.datetime, reason: levels.Reason, quantity: int) -> list[ReorderRequest]:
        self.number += 1
        return self.deliver(StockEvent(f"{self.number}", moment, "S1", "P1", reason, quantity))

    def deliver(self, event: StockEvent) -> list[ReorderRequest]:
        after, found = levels.step(levels.unpacked(json.loads(self.levels_state)), event, FEW)
        self.levels_state = json.dumps(after.packed())
        return [request for level in found for request in self.see(level)]

    def see(self, level: StockLevel) -> list[ReorderRequest]:
        self.on_hand = level.on_hand
        after, requests = reorder.step(reorder.unpacked(json.loads(self.reorder_state)), level, self.parameters)
        self.reorder_state = json.dumps(after.packed())
        return list(requests)

    @property
    def state(self) -> reorder.State:
        return reorder.unpacked(json.loads(self.reorder_state))


FEW = levels.Parameters("few", dt.timedelta(days=7), 8)
POLICY = Parameters("test", lead_time_days=2, lead_time_deviation_days=0, holding_cost_usd=250, hysteresis=0.2)


def seasoned(parameters: Parameters = POLICY, stock: int = 2000) -> Shop:
    """A shop that has sold 10 a day for twenty days and now has 200 left: reorder point 20, and the band around it."""
    shop = Shop(parameters)
    shop.take(MONDAY - dt.timedelta(days=21), "count", stock)
    for day in range(20):
        assert not shop.take(MONDAY - dt.timedelta(days=20 - day), "sale", -10)
    shop.take(MONDAY, "count", 200)
    return shop


def after(minutes: int) -> dt.datetime:
    return MONDAY + dt.timedelta(minutes=minutes)


def test_a_request_is_made_at_the_reorder_point_and_once_while_it_is_open() -> None:
    shop = seasoned()
    assert not shop.take(after(1), "sale", -170)
    (request,) = shop.take(after(2), "sale", -12)
    assert (request.position, request.reorder_point > 18, request.request_id) == (18, True, "S1:P1:1")
    assert request.quantity >= request.economic_quantity
    assert not shop.take(after(3), "sale", -10)
    assert shop.state.on_order == request.quantity


def test_a_request_shows_its_inputs() -> None:
    (request,) = seasoned().take(after(1), "sale", -190)
    message = request.message()
    assert json.loads(json.dumps(message)) == message
    assert (message["status"], message["position"], message["demand_method"]) == ("requested", 10, "mean")
    assert json.loads(message["evidence"])["demand_days"] == 21
    assert reorder.unpacked_request(json.loads(json.dumps(request.packed()))) == request


def test_a_partial_receipt_leaves_the_cycle_open_and_the_rest_closes_it() -> None:
    shop = seasoned()
    (request,) = shop.take(after(1), "sale", -190)
    shop.take(after(2), "receipt", request.quantity - 5)
    assert (shop.state.on_order, shop.state.opened_at is None) == (5, False)
    shop.take(after(3), "receipt", 5)
    assert (shop.state.on_order, shop.state.opened_at) == (0, None)


def test_a_receipt_of_before_the_request_is_not_what_was_asked_for() -> None:
    shop = seasoned()
    (request,) = shop.take(after(5), "sale", -190)
    assert not shop.take(after(2), "receipt", request.quantity)
    assert (shop.state.on_order, shop.state.opened_at is None) == (request.quantity, False)
    assert not shop.take(after(6), "receipt", request.quantity)
    assert (shop.state.on_order, shop.state.opened_at) == (0, None)


def test_a_request_that_a_late_event_raises_lives_as_long_as_any() -> None:
    shop = seasoned()
    assert not shop.take(after(60), "sale", -150)
    (first,) = shop.take(after(1), "sale", -40)
    assert first.event_time == after(1)
    open_days = dt.timedelta(days=POLICY.open_days)
    assert not shop.take(after(30) + open_days, "sale", -1)
    assert [second.cycle for second in shop.take(after(61) + open_days, "sale", -1)] == [2]


def test_the_next_cycle_has_the_next_number() -> None:
    shop = seasoned()
    (first,) = shop.take(after(1), "sale", -190)
    shop.take(after(2), "receipt", first.quantity)
    (second,) = shop.take(after(3), "sale", -shop.on_hand)
    assert (first.cycle, second.cycle) == (1, 2)
    assert first.message()["event_id"] != second.message()["event_id"]


def test_after_a_request_the_position_must_leave_the_band_before_another() -> None:
    shop = seasoned()
    (first,) = shop.take(after(1), "sale", -190)
    shop.take(after(2), "receipt", first.quantity)
    point = first.reorder_point
    shop = Shop(POLICY, shop.levels_state, json.dumps(replace(shop.state, armed=False).packed()))
    assert not shop.take(after(4), "count", int(point * 1.1))
    assert not shop.take(after(5), "count", int(point * 0.9))
    assert len(shop.take(after(6), "count", int(point * 0.75))) == 1


def test_a_request_that_is_never_received_stops_counting_as_on_order() -> None:
    shop = seasoned()
    (first,) = shop.take(after(1), "sale", -190)
    (second,) = shop.take(after(1) + dt.timedelta(days=15), "sale", -1)
    assert (first.cycle, second.cycle) == (1, 2)


def test_the_kill_switch_asks_for_nothing_and_the_need_is_met_once_it_is_off() -> None:
    shop = seasoned(replace(POLICY, enabled=False))
    assert not shop.take(after(1), "sale", -195)
    shop.parameters = POLICY
    assert len(shop.take(after(2), "sale", -1)) == 1


def test_nothing_is_asked_for_from_too_short_a_history() -> None:
    shop = Shop(POLICY)
    shop.take(MONDAY, "count", 5)
    assert not [shop.take(MONDAY + dt.timedelta(days=day), "sale", -1) for day in range(14)][-1]


@hypothesis_settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.lists(
        st.tuples(st.sampled_from(["sale", "receipt", "count", "return"]), st.integers(0, 60), st.integers(1, 3000)),
        max_size=25,
    )
)
def test_one_request_is_open_at_most_and_duplicates_ask_for_nothing(
    movements: list[tuple[levels.Reason, int, int]],
) -> None:
    shop, found, minute = seasoned(), [], 0
    for reason, quantity, minutes in movements:
        minute += minutes
        was_open = shop.state.opened_at is not None
        event = StockEvent(
            f"h{len(found)}-{minute}", after(minute), "S1", "P1", reason, -quantity if reason == "sale" else quantity
        )
        requests = shop.deliver(event)
        stored = shop.reorder_state
        assert not shop.deliver(event)
        assert shop.reorder_state == stored
        assert len(requests) <= 1
        assert not (requests and was_open) or reason == "receipt" or minute > 14 * 24 * 60
        found += requests
        assert (shop.state.opened_at is None) == (shop.state.on_order == 0)
    assert [request.cycle for request in found] == list(range(1, len(found) + 1))


def test_a_level_that_comes_again_changes_nothing() -> None:
    shop = seasoned()
    level = levels.step(
        levels.unpacked(json.loads(shop.levels_state)), StockEvent("x", after(1), "S1", "P1", "sale", -190)
    )[1][0]
    assert len(shop.see(level)) == 1
    stored = shop.reorder_state
    assert not shop.see(level)
    assert shop.reorder_state == stored


def requests(count: int) -> list[ReorderRequest]:
    (first,) = seasoned().take(after(1), "sale", -190)
    return [replace(first, product_id=f"P{number}") for number in range(count)]


def limited(arrivals: Iterable[ReorderRequest], parameters: daily_limit.Parameters) -> list[ReorderRequest]:
    stored, found = "null", []
    for request in arrivals:
        state, outputs = daily_limit.step(daily_limit.unpacked(json.loads(stored)), request, parameters)
        stored = json.dumps(state.packed())
        found += outputs
    return found


def test_requests_over_the_days_limit_are_held_and_the_next_day_begins_anew() -> None:
    today = requests(4)
    tomorrow = [replace(request, cycle=2, event_time=request.event_time + dt.timedelta(days=1)) for request in today]
    found = limited([*today, *tomorrow], daily_limit.Parameters(2))
    assert [request.status for request in found] == ["requested", "requested", "held", "held"] * 2


def test_a_held_request_is_released_as_it_was_asked_for_and_an_older_one_is_not() -> None:
    (held,) = limited(requests(1), daily_limit.Parameters(0))
    stored = json.loads(json.dumps(held.packed()))
    release = daily_limit.Release(after(90), "S1", "P0", held.cycle)
    assert daily_limit.unpacked_event(json.loads(json.dumps(release.packed()))) == release
    (found,) = daily_limit.released(stored, release)
    assert found == replace(held, status="released", event_time=after(90))
    assert found.message()["event_id"] != held.message()["event_id"]
    assert daily_limit.released(stored, replace(release, cycle=held.cycle + 1)) == ()
    assert daily_limit.released(None, release) == ()


HEADER = (
    "product_id,lead_time_days,lead_time_deviation_days,order_cost_usd,holding_cost_usd,"
    "case_pack,minimum_order,maximum_order,service_level\n"
)


def test_a_product_is_ordered_by_its_own_suppliers_terms_and_what_they_leave_open_is_the_policys() -> None:
    found = read_terms((HEADER + "P1,3,0.5,20,,12,24,600,0.99\nP2,,,,,,,,\n").splitlines(), "terms.csv", POLICY)
    assert found["P1"] == replace(
        POLICY,
        lead_time_days=3,
        lead_time_deviation_days=0.5,
        order_cost_usd=20,
        case_pack=12,
        minimum_order=24,
        maximum_order=600,
        service_level=0.99,
        open_days=5,
    )
    assert found["P2"] == replace(POLICY, open_days=2)
    (request,) = seasoned(found["P1"]).take(after(1), "sale", -190)
    assert (request.quantity % 12, request.quantity >= 24) == (0, True)
    assert json.loads(request.message()["evidence"])["case_pack"] == 12


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("P1,0,,,,,,,", "line 2: lead_time_days must be a number above 0"),
        ("P1,,,,,1.5,,,", "line 2: case_pack must be a whole number above 0, e.g. 12"),
        ("P1,,,,,12,,6,", "line 2: maximum_order must be at least"),
        ("P1,,,,,,,,1", "line 2: service_level must be between 0 and 1"),
        ("P1,,,,,,,,\nP1,,,,,,,,", "line 3: product P1 must be named, and only once"),
    ],
)
def test_suppliers_terms_that_are_wrong_are_refused_by_line(row: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        read_terms((HEADER + row).splitlines(), "terms.csv", POLICY)


@hypothesis_settings(max_examples=30, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), max_size=30))
def test_no_sequence_lets_more_than_the_limit_through(arrivals: list[tuple[int, int]]) -> None:
    made = requests(6)
    sent = [
        replace(made[product], cycle=day, event_time=made[product].event_time + dt.timedelta(days=day))
        for product, day in arrivals
    ]
    passed = [request for request in limited(sent, daily_limit.Parameters(2)) if request.status == "requested"]
    assert len(passed) == len({request.request_id for request in passed})
    for day in range(4):
        assert sum(request.cycle == day for request in passed) <= 2


@dataclass
class Year:
    """What a policy reached in a year: cycles, those that ran out before the receipt, and units wanted and sold."""

    cycles: int = 0
    short: int = 0
    wanted: int = 0
    sold: int = 0

    @property
    def service_level(self) -> float:
        return 1 - self.short / self.cycles

    @property
    def fill_rate(self) -> float:
        return self.sold / self.wanted


def simulate(seed: int, year: Year, fixed: tuple[int, int] | None = None) -> None:
    """365 days of demand 100 ± 20 a day and lead times 7 ± 2, sales lost when the stock is out.

    By the real rules after 60 days of learning; or by a rule that orders a fixed quantity below a fixed level.
    """
    random = Random(seed)
    shop = Shop(replace(reorder.DEFAULT, enabled=fixed is None))
    start = MONDAY - dt.timedelta(days=60)
    shop.take(start, "count", 60 * 100 + 1500)
    due: list[tuple[int, int]] = []
    ran_out = False
    for day in range(60 + 365):
        morning = start + dt.timedelta(days=day)
        for quantity in [quantity for arrival, quantity in due if arrival == day]:
            year.cycles, year.short = year.cycles + 1, year.short + ran_out
            shop.take(morning, "receipt", quantity)
            ran_out = False
        due = [order for order in due if order[0] > day]
        wanted = max(0, round(random.gauss(100, 20)))
        sold = min(wanted, shop.on_hand)
        made = shop.take(morning + dt.timedelta(hours=1), "sale", -sold) if sold else []
        if day < 60:
            continue
        year.wanted, year.sold = year.wanted + wanted, year.sold + sold
        ran_out = ran_out or wanted > sold
        ordered = [request.quantity for request in made]
        if fixed and not due and shop.on_hand <= fixed[0]:
            ordered = [fixed[1]]
        due += [(day + max(1, round(random.gauss(7, 2))), quantity) for quantity in ordered]


def test_a_year_of_the_policy_reaches_its_service_level_and_fixed_quantity_rules_only_with_what_it_had_to_learn() -> (
    None
):
    """The figures are in docs/reactions.md; with ``-rP`` they are shown."""
    policy_year, knowing, plain = Year(), Year(), Year()
    for seed in range(6):
        simulate(seed, policy_year)
        # The golden reorder point and quantity of this very demand and lead time; and the mean demand over the lead time.
        simulate(seed, knowing, fixed=(1040, 1208))
        simulate(seed, plain, fixed=(700, 1208))
    for name, year in (("policy", policy_year), ("knowing", knowing), ("plain", plain)):
        print(f"{name}: service level {year.service_level:.3f} in {year.cycles} cycles, fill rate {year.fill_rate:.4f}")
    assert policy_year.service_level >= 0.92
    assert policy_year.fill_rate > 0.99
    assert abs(policy_year.service_level - knowing.service_level) < 0.04
    assert plain.service_level < 0.70
