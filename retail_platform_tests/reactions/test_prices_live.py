"""The clock of prices, and their terms: what a sale, a stock level or a rollback sets off."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace
from decimal import Decimal

import pytest

from retail_platform.errors import SettingsError
from retail_platform.reactions.prices import live
from retail_platform.reactions.prices.live import Happened
from retail_platform.reactions.prices.rule import Parameters, PriceUpdate, Sold, Stocked, Terms
from retail_platform.reactions.prices.terms import read_terms
from retail_platform.settings import load_settings

NOON = dt.datetime(2026, 3, 2, 12, tzinfo=dt.UTC)
TERMS = Terms(unit_cost=Decimal(6), list_price=Decimal("9.99"))
HEADER = "product_id,unit_cost,list_price,minimum_advertised_price,ceiling,sell_by,category_elasticity,applies\n"


def sold(event_id: str, hours: float, arrives: float | None = None) -> Happened:
    time = NOON + dt.timedelta(hours=hours)
    at = NOON + dt.timedelta(hours=hours if arrives is None else arrives)
    return live.from_sold(Sold(event_id, time, "P1", 10, Decimal("99.90")), at)


def level(revision: int, hours: float, on_hand: int = 280) -> Happened:
    time = NOON + dt.timedelta(hours=hours)
    return Happened(time, time, f"l{revision}", "P1", Stocked("P1", "S1", on_hand, revision))


def rollback(event_id: str, hours: float) -> Happened:
    time = NOON + dt.timedelta(hours=hours)
    return Happened(time, time, event_id, "P1", None)


def review(hours: float, arrives: float | None = None) -> Happened:
    event = {"event_id": f"r{hours}", "event_time": f"{NOON + dt.timedelta(hours=hours):%Y-%m-%dT%H:%M:%S.%fZ}"}
    at = NOON + dt.timedelta(hours=hours if arrives is None else arrives)
    return live.from_review({**event, "product_id": "P1"}, at)


def run(*events: Happened, applies: bool = True, reviews: bool = True, terms: Terms = TERMS) -> list[PriceUpdate]:
    """The updates of one product; its state and its events pass through JSON, as they do live."""
    stored, found = "null", []
    for event in events:
        arrived = live.unpacked_event(json.loads(json.dumps(event.packed())))
        assert arrived == event
        state = live.unpacked(json.loads(stored))
        after, updates = live.step(state, arrived, terms, Parameters("test", applies=applies), reviews=reviews)
        stored = json.dumps(after.packed())
        found += updates
    return found


MONTH = [sold(f"s{day}", -24 * day - 1, arrives=-1) for day in range(28, 0, -1)]


def shown(updates: list[PriceUpdate]) -> list[tuple[str, str, str]]:
    return [(one.status, one.reason, f"{one.price or ''}") for one in updates]


def test_a_sale_has_the_price_reviewed_once_demand_and_stock_are_known() -> None:
    found = run(*MONTH, level(1, -0.5), sold("now", 0), sold("next", 1))
    assert shown(found) == [
        ("withheld", "stale_demand", ""),
        ("applied", "optimum", "9.69"),
        ("withheld", "too_soon", ""),
    ]


def test_a_stock_level_has_it_reviewed_too_and_one_of_yesterday_is_stale() -> None:
    assert shown(run(*MONTH, sold("now", 0), level(1, 0.1)))[-1] == ("applied", "optimum", "9.69")
    assert shown(run(level(1, -30), *MONTH, sold("now", 0)))[-1] == ("withheld", "stale_stock", "")


def test_a_sale_of_last_week_that_arrives_now_says_nothing_of_todays_demand() -> None:
    assert shown(run(level(1, 0), sold("late", -24 * 7, arrives=0.1)))[-1] == ("withheld", "stale_demand", "")


def test_what_nobody_buys_is_reviewed_when_all_was_read_and_marked_down_toward_its_sell_by_date() -> None:
    quiet = [*MONTH, level(1, -1)]
    assert shown(run(*quiet, sold("late", 72, arrives=72)))[-1][1] == "stale_stock"
    spoils = replace(TERMS, sell_by=(NOON + dt.timedelta(days=9)).date())
    found = run(*quiet, review(72), review(84), terms=spoils)
    assert [(status, reason) for status, reason, _ in shown(found)][-2:] == [("applied", "sell_by")] * 2
    assert found[-1].effective_price < found[-2].effective_price < TERMS.list_price
    assert json.loads(found[-1].message()["evidence"])["weekly_demand"] > 0


def test_a_review_as_of_a_moment_long_gone_does_not_make_old_data_fresh() -> None:
    assert shown(run(*MONTH, level(1, -1), review(-20, arrives=72)))[-1][1] == "stale_demand"


def test_on_its_first_day_a_product_keeps_its_price() -> None:
    assert shown(run(level(1, 0), sold("first", 0.1), sold("next", 0.2))) == [
        ("withheld", "stale_demand", ""),
        ("withheld", "no_whole_day", ""),
    ]


def test_switched_off_it_learns_and_decides_nothing_but_takes_back() -> None:
    events = [*MONTH, level(1, 0), sold("now", 0.1)]
    assert run(*events, reviews=False) == []
    stored = live.State()
    for event in events:
        stored, _ = live.step(stored, event, TERMS, Parameters("test", applies=True), reviews=True)
    after, (update,) = live.step(stored, rollback("r", 1), TERMS, Parameters("test"), reviews=False)
    assert (update.status, update.effective_price) == ("rolled_back", Decimal("9.99"))
    assert live.step(after, rollback("r", 2), TERMS, Parameters("test"), reviews=False) == (after, ())


def test_a_rollback_counts_though_a_review_was_decided_at_its_very_time() -> None:
    found = run(*MONTH, level(1, 0), sold("now", 0.1), rollback("r", 0.1))
    assert shown(found)[-1] == ("rolled_back", "rollback", "9.99")


def test_terms_are_read_as_they_are_written() -> None:
    rows = "P1,6,9.99,8.50,12,2026-12-24,-3.1,yes\nP2,0.5,1,,,,,no\n"
    found = read_terms((HEADER + rows).splitlines(), "terms.csv")
    assert found["P1"].applies
    assert found["P1"].terms == Terms(
        Decimal(6), Decimal("9.99"), Decimal("8.50"), Decimal(12), dt.date(2026, 12, 24), -3.1
    )
    assert (found["P2"].applies, found["P2"].terms) == (False, Terms(Decimal("0.5"), Decimal(1)))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("P1,,9.99,,,,,no", "line 2: unit_cost and list_price must be given"),
        ("P1,NaN,9.99,,,,,no", "line 2: unit_cost must be an amount above 0"),
        ("P1,1,-2,,,,,no", "line 2: list_price must be an amount above 0"),
        ("P1,1,2,,,soon,,no", "line 2: Invalid isoformat string: 'soon'"),
        ("P1,1,2,,,,0.5,no", "line 2: category_elasticity must be below 0"),
        ("P1,1,2,,,,,maybe", "line 2: applies must be yes or no"),
        ("P1,1,2", "line 2: .*see docs/reactions.md"),
        ("P1,1,2,,,,,no\nP1,1,2,,,,,no", "line 3: product P1 must be named, and only once"),
    ],
)
def test_terms_that_are_wrong_are_refused_by_line(row: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        read_terms((HEADER + row).splitlines(), "terms.csv")


def test_a_file_without_a_column_is_refused_by_its_name() -> None:
    with pytest.raises(SettingsError, match=r"terms.csv: the header lacks applies"):
        read_terms([HEADER.replace(",applies", "")], "terms.csv")


def test_the_terms_that_come_along_can_be_read_and_apply_nowhere() -> None:
    path = load_settings(env_file=None).price_terms_file
    found = read_terms(path.read_text().splitlines(), path.name)
    assert len(found) == 20
    assert not any(listed.applies for listed in found.values())
