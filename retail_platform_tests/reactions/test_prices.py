import datetime as dt
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from retail_platform.reactions.events import Line, Transaction
from retail_platform.reactions.prices import rule
from retail_platform.reactions.prices.elasticity import log_log_slope, shrunk
from retail_platform.reactions.prices.guardrails import Band, Guardrails, floor_and_ceiling, with_ending
from retail_platform.reactions.prices.rule import Parameters, PriceUpdate, Review, Rollback, Sold, Stocked, Terms
from retail_platform.reactions.prices.target import cover_factor, markdown_price, optimal_price, weeks_of_cover

NOON = dt.datetime(2026, 3, 2, 12, tzinfo=dt.UTC)
TERMS = Terms(unit_cost=Decimal(6), list_price=Decimal("9.99"))
ADVISES = Parameters("test")
APPLIES = Parameters("test", applies=True)


def sold(event_id: str, hours: float, units: int = 10, price: str = "9.99") -> Sold:
    return Sold(event_id, NOON + dt.timedelta(hours=hours), "P1", units, units * Decimal(price))


def review(hours: float = 0, demand_age: float = 0, stock_age: float = 0) -> Review:
    now = NOON + dt.timedelta(hours=hours)
    return Review(now, "P1", now - dt.timedelta(hours=demand_age), now - dt.timedelta(hours=stock_age))


def rollback(hours: float) -> Rollback:
    return Rollback(NOON + dt.timedelta(hours=hours), "P1")


@dataclass
class Product:
    """One product under the real rule, its state stored as JSON between events."""

    parameters: Parameters = ADVISES
    terms: Terms = TERMS
    stored: str = "null"

    def take(self, *events: rule.Event) -> list[PriceUpdate]:
        found: list[PriceUpdate] = []
        for event in events:
            after, updates = rule.step(self.state, event, self.terms, self.parameters)
            self.stored = json.dumps(after.packed())
            found += updates
        return found

    @property
    def state(self) -> rule.State:
        return rule.unpacked(json.loads(self.stored))

    @property
    def price(self) -> Decimal:
        return rule.current_price(self.state, self.terms)


def selling(parameters: Parameters = ADVISES, terms: Terms = TERMS, on_hand: int = 280) -> Product:
    """A product that sold 10 a day for four weeks and has four weeks of cover: its target is the optimum, 9.70."""
    product = Product(parameters, terms)
    product.take(*(sold(f"s{day}", -24 * day) for day in range(28, 0, -1)), Stocked("P1", "S1", on_hand, 1))
    return product


def test_the_slope_of_a_constant_elasticity_is_found() -> None:
    slope = log_log_slope([(price, 1000 * price**-2.5) for price in (8, 9, 10, 11)])
    assert slope is not None
    assert (round(slope.value, 6), slope.variance < 1e-12) == (-2.5, True)


def test_one_price_shows_no_slope() -> None:
    assert log_log_slope([(9.99, 3), (9.99, 5), (9.99, 4)]) is None


def test_an_elasticity_is_the_categorys_until_the_products_own_is_known_better() -> None:
    random = Random(3)

    def observed(days: int) -> list[tuple[float, float]]:
        prices = [random.choice((8.0, 9.0, 10.0)) for _ in range(days)]
        return [(price, 1000 * price**-4 * math.exp(random.gauss(0, 0.3))) for price in prices]

    few, some, many = (shrunk(observed(days), -2.0, 1.0, 10) for days in (9, 12, 400))
    assert (few.value, few.weight) == (-2.0, 0.0)
    assert 0 < some.weight < many.weight < 1
    assert many.value == pytest.approx(-4, abs=0.3)


def test_the_optimum_by_hand_and_none_where_demand_hardly_answers() -> None:
    assert optimal_price(6, -3) == pytest.approx(9)
    assert optimal_price(6, -1) is None
    assert optimal_price(6, -0.5) is None


@hypothesis_settings(max_examples=60, deadline=None, derandomize=True)
@given(st.floats(0.5, 500), st.floats(-8, -1.2), st.floats(0.5, 2))
def test_no_price_makes_more_profit_than_the_optimum(cost: float, elasticity: float, times: float) -> None:
    best = optimal_price(cost, elasticity)
    assert best is not None
    other = best * times

    def profit(price: float) -> float:
        return (price - cost) * (price / best) ** elasticity

    assert profit(other) <= profit(best) * (1 + 1e-9)


def test_scarce_stock_raises_and_much_stock_lowers_within_a_tenth() -> None:
    assert [cover_factor(cover, 4, 0.1, 0.1) for cover in (0, 4, 8, 400, None)] == pytest.approx(
        [1.1, 1, 0.9, 0.9, 0.9]
    )
    assert (weeks_of_cover(30, 10), weeks_of_cover(-3, 10), weeks_of_cover(30, 0)) == (3, 0, None)


def test_a_markdown_sells_out_by_the_sell_by_date() -> None:
    price = markdown_price(10, -2, on_hand=40, weekly_demand=35, days_left=4)
    assert 5 * (price / 10) ** -2 * 4 == pytest.approx(40)
    assert markdown_price(10, -2, on_hand=10, weekly_demand=35, days_left=4) == 10


def test_the_floor_is_the_dearer_of_margin_and_advertised_minimum() -> None:
    limits = Guardrails(minimum_margin=Decimal("0.25"))
    ten = Decimal(10)
    assert floor_and_ceiling(Decimal(6), None, ten, None, limits) == Band(Decimal("8.00"), Decimal("12.50"))
    assert floor_and_ceiling(Decimal(6), Decimal("8.505"), ten, Decimal(11), limits) == Band(
        Decimal("8.51"), Decimal("11.00")
    )


@pytest.mark.parametrize(
    ("target", "low", "high", "price"),
    [
        ("9.87", "9.52", "10.48", "9.79"),
        ("9.91", "9.52", "10.48", "9.99"),
        ("9.89", "9.52", "10.48", "9.79"),
        ("9.60", "9.52", "9.75", "9.60"),
        ("200", "9.52", "10.48", "10.29"),
        ("0.10", "0.30", "0.50", "0.49"),
    ],
)
def test_prices_end_as_a_shop_ends_them_where_the_limits_allow(target: str, low: str, high: str, price: str) -> None:
    band = Band(Decimal(low), Decimal(high))
    assert with_ending(Decimal(target), band, (29, 49, 79, 99)) == Decimal(price)


def test_a_recommendation_changes_no_price_and_is_made_once() -> None:
    product = selling()
    (update,) = product.take(review())
    assert (update.status, update.price, update.reason) == ("recommended", Decimal("9.69"), "optimum")
    assert product.price == Decimal("9.99")
    assert not product.take(review(1))


def test_where_it_is_switched_on_the_price_changes() -> None:
    product = selling(APPLIES)
    (update,) = product.take(review())
    assert (update.status, update.effective_price, product.price) == ("applied", Decimal("9.69"), Decimal("9.69"))


def test_an_update_shows_its_inputs() -> None:
    (update,) = selling().take(review())
    message = update.message()
    assert json.loads(json.dumps(message)) == message
    assert (message["current_price"], message["effective_price"], message["price"]) == ("9.99", "9.99", "9.69")
    shown = json.loads(message["evidence"])
    assert (shown["elasticity"], shown["weekly_demand"], shown["weeks_of_cover"]) == (-2.62, 70.0, 4.0)
    assert message["event_id"] == update.message()["event_id"] != replace(update, sequence=2).message()["event_id"]


def test_stock_about_to_spoil_is_marked_down_step_by_step_to_the_floor() -> None:
    product = selling(APPLIES, replace(TERMS, sell_by=NOON.date() + dt.timedelta(days=9)))
    found = product.take(*(review(24 * day) for day in range(10)))
    assert {update.reason for update in found} == {"sell_by"}
    assert [update.price for update in found[:3]] == [Decimal("9.59"), Decimal("9.19"), Decimal("8.79")]
    assert product.price == Decimal("6.69")
    (last,) = product.take(review(24 * 10))
    assert (last.status, last.reason) == ("withheld", "past_sell_by")


def test_a_rollback_comes_at_once_and_is_not_undone_within_a_day() -> None:
    product = selling(APPLIES)
    product.take(review())
    (back,) = product.take(rollback(0.5))
    assert (back.status, product.price) == ("rolled_back", Decimal("9.99"))
    (withheld,) = product.take(review(23))
    assert withheld.reason == "after_rollback"
    assert [update.status for update in product.take(review(25))] == ["applied"]


def test_there_is_nothing_to_roll_back_twice() -> None:
    product = selling(APPLIES)
    product.take(review(), rollback(1))
    (update,) = product.take(rollback(2))
    assert (update.status, update.reason, product.price) == ("withheld", "nothing_to_roll_back", Decimal("9.99"))


def test_the_changes_of_a_product_can_be_read_back_in_order() -> None:
    product = selling(APPLIES)
    product.take(review(), rollback(1))
    assert [(one.old, one.new, one.rollback) for one in product.state.changes] == [
        (Decimal("9.99"), Decimal("9.69"), False),
        (Decimal("9.69"), Decimal("9.99"), True),
    ]


def test_who_buys_changes_no_price() -> None:
    line = Line("P1", "tea", 2, Decimal("9.99"), Decimal("0.50"))
    somebody = Transaction("e", "sale", "T", NOON, "pos", "S1", "USD", (line, line), customer_id="C1", card_token="k1")
    somebody_else = replace(somebody, customer_id="C2", card_token="k2", country="FR", region="south", latitude=1.0)
    found = rule.from_transaction(somebody, Decimal(2))
    assert found == rule.from_transaction(somebody_else, Decimal(2)) == (Sold("e", NOON, "P1", 4, Decimal("77.92")),)
    assert not rule.from_transaction(replace(somebody, event_type="return"), Decimal(2))


def test_sales_and_stock_that_come_again_change_nothing() -> None:
    product = selling()
    stored = product.stored
    product.take(sold("s3", -72), Stocked("P1", "S1", 5, 1))
    assert product.stored == stored


def test_stock_is_added_up_over_stores_and_the_latest_revision_holds() -> None:
    product = selling()
    product.take(Stocked("P1", "S2", 70, 4), Stocked("P1", "S2", 1, 3), Stocked("P1", "S3", -9, 1))
    (update,) = product.take(review())
    assert update.inputs["on_hand"] == 350


@dataclass(frozen=True)
class Turn:
    """What happens at one moment of a product's life."""

    hours: float
    event: str
    cost: Decimal
    ceiling: Decimal | None
    minimum: Decimal | None
    units: int
    on_hand: int
    demand_age: int
    stock_age: int
    emergency: bool
    sell_by_days: int | None


cents = st.decimals(min_value=Decimal(1), max_value=Decimal(14), places=2)
turns = st.lists(
    st.builds(
        Turn,
        hours=st.sampled_from([0.0, 0.5, 2.0, 6.0, 7.0, 13.0, 30.0]),
        event=st.sampled_from(["review", "review", "review", "rollback"]),
        cost=cents,
        ceiling=st.none() | cents,
        minimum=st.none() | cents,
        units=st.integers(0, 500),
        on_hand=st.integers(-5, 5000),
        demand_age=st.sampled_from([0, 23, 25, 200]),
        stock_age=st.sampled_from([0, 23, 25, 200]),
        emergency=st.booleans(),
        sell_by_days=st.sampled_from([None, None, -1, 1, 9]),
    ),
    max_size=20,
)


@dataclass(frozen=True)
class Set:
    """A price that was set, with all that held at that moment."""

    hours: float
    old: Decimal
    new: Decimal
    turn: Turn
    rollback: bool


def lived(life: Iterable[Turn]) -> list[Set]:
    """Every price that a life of a product set: reviews are the rule's, the turn says what holds."""
    product, hours, found = Product(APPLIES), 0.0, []
    for number, turn in enumerate(life):
        hours += turn.hours
        now = NOON + dt.timedelta(hours=hours)
        sell_by = None if turn.sell_by_days is None else now.date() + dt.timedelta(days=turn.sell_by_days)
        product.terms = Terms(turn.cost, Decimal("9.99"), turn.minimum, turn.ceiling, sell_by)
        product.parameters = replace(APPLIES, guardrails=Guardrails(emergency=turn.emergency))
        product.take(sold(f"{number}", hours, turn.units), Stocked("P1", "S1", turn.on_hand, number + 1))
        before = product.price
        control = review(hours, turn.demand_age, turn.stock_age) if turn.event == "review" else rollback(hours)
        updates = product.take(control)
        if product.price != before:
            assert updates[0].effective_price == product.price
            found.append(Set(hours, before, product.price, turn, rollback=turn.event == "rollback"))
        assert not product.take(control)
    return found


def holds(examples: int = 60):
    def decorate(test):
        return hypothesis_settings(max_examples=examples, deadline=None, derandomize=True)(given(turns)(test))

    return decorate


@holds()
def test_no_sequence_sets_a_price_below_cost_with_its_margin_or_the_advertised_minimum(life: list[Turn]) -> None:
    for one in lived(life):
        assert one.new * Decimal("0.9") >= one.turn.cost
        assert one.new >= (one.turn.minimum or 0)


@holds()
def test_no_sequence_sets_a_price_above_its_ceiling(life: list[Turn]) -> None:
    for one in lived(life):
        assert one.new <= (one.turn.ceiling or Decimal("9.99") * Decimal("1.25"))


@holds()
def test_no_sequence_changes_a_price_by_more_than_a_twentieth(life: list[Turn]) -> None:
    for one in lived(life):
        assert abs(one.new - one.old) <= Decimal("0.05") * one.old


@holds()
def test_no_sequence_changes_a_price_by_more_than_a_tenth_in_a_day(life: list[Turn]) -> None:
    found = lived(life)
    for one in found:
        recent = [other.old for other in found if one.hours - 24 < other.hours <= one.hours]
        assert all(abs(one.new - old) <= Decimal("0.1") * old for old in recent)


@holds()
def test_no_sequence_but_a_rollback_changes_a_price_within_six_hours_of_the_last_change(life: list[Turn]) -> None:
    found = lived(life)
    for before, after in pairwise(found):
        assert after.rollback or after.hours - before.hours >= 6


@holds()
def test_no_sequence_but_a_rollback_changes_a_price_while_demand_or_stock_are_stale(life: list[Turn]) -> None:
    for one in lived(life):
        assert one.rollback or max(one.turn.demand_age, one.turn.stock_age) <= 24


@holds()
def test_no_sequence_raises_a_price_under_a_declared_emergency(life: list[Turn]) -> None:
    for one in lived(life):
        assert one.new < one.old or not one.turn.emergency


def test_the_lives_that_are_tried_do_change_prices_up_and_down_and_back() -> None:
    steady = Turn(7, "review", Decimal(6), None, None, 100, 10, 0, 0, emergency=False, sell_by_days=None)
    learning = replace(steady, hours=30, demand_age=200)
    up = lived([learning, *[steady] * 6])
    down = lived([replace(steady, cost=Decimal(3), on_hand=5000)] * 4)
    back = lived([steady, steady, replace(steady, event="rollback")])
    assert all(one.new > one.old for one in up)
    assert all(one.new < one.old for one in down)
    assert (len(up) > 1, len(down) > 1, back[-1].rollback) == (True, True, True)
