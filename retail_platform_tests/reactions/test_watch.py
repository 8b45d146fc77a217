"""What `retail watch` makes of a record, for a person in front of a terminal."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from rich.text import Text
from typer.testing import CliRunner

from retail_platform.cli import watch
from retail_platform.cli.app import app
from retail_platform.contracts import FRAUD_ALERTS
from retail_platform.kafka import ensure_topics
from retail_platform.settings import Settings
from retail_platform_tests.ingest.running import deliver, message

AT = "2026-03-02T12:00:00.000000Z"
CUSTOMER = {
    "event_time": AT, "customer_id": "C1", "previous_segment": None, "segment": "new", "recency_days": 0, "orders": 1,
    "revenue_usd": "20.01", "recency_score": 5, "frequency_score": 1, "monetary_score": 2,
}  # fmt: skip
PRICE = {
    "event_time": AT, "product_id": "P1", "status": "withheld", "price": None, "current_price": "9.99",
    "floor": "6.67", "ceiling": "12.48", "reason": "stale_stock",
}  # fmt: skip
LEVEL = {"event_time": AT, "store_id": "S1", "product_id": "P1", "on_hand": -2, "change": -3, "reason": "sale"}
REORDER = {
    "event_time": AT, "store_id": "S1", "product_id": "P1", "status": "held", "quantity": 105, "position": 11,
    "reorder_point": "11.6", "demand_mean": "0.7", "demand_method": "sba",
}  # fmt: skip
REORDER_LINE = (
    "2026-03-02 12:00:00Z store S1, P1: order 105 (held for a person) "
    "(position 11 at a reorder point of 11.6, demand 0.7 a day by sba)"
)
ALERT = {
    "event_time": AT, "severity": "high", "score": "0.9", "rule": "velocity", "shadow": "yes", "card_token": "[red]\x1b[2J",
    "store_id": "S1", "evidence": "{}",
}  # fmt: skip


def cell(value: str, orders: int, revision: int = 1, **changes: Any) -> dict[str, Any]:
    dimension = "all" if value == "all" else "store"
    window = changes.pop("window_start", "2026-03-02T00:00:00.000000Z")
    return {
        "metric_key": f"day:{window}:{dimension}:{value}", "grain": "day", "window_start": window,
        "dimension": dimension, "dimension_value": value, "revision": revision, "orders": orders, "returns": 0,
        "customers": 1, "revenue_usd": None, "avg_order_value_usd": None,
    } | changes  # fmt: skip


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        (
            watch.segment_line(CUSTOMER),
            "2026-03-02 12:00:00Z customer C1 nobody → new (RFM 512: 0 days, 1 orders, 20.01 USD)",
        ),
        (
            watch.segment_line(CUSTOMER | {"previous_segment": "new", "segment": "hibernating", "orders": None}),
            "2026-03-02 12:00:00Z customer C1 new → hibernating (no sale in a year)",
        ),
        (
            watch.price_line(PRICE),
            "2026-03-02 12:00:00Z withheld    P1 9.99 USD (stale_stock, allowed 6.67 to 12.48)",
        ),
        (
            watch.price_line(PRICE | {"status": "applied", "price": "9.69", "reason": "optimum"}),
            "2026-03-02 12:00:00Z applied     P1 9.99 → 9.69 USD (optimum, allowed 6.67 to 12.48)",
        ),
        (watch.reorder_line(REORDER), REORDER_LINE),
        (watch.stock_line(LEVEL), "2026-03-02 12:00:00Z store S1, P1: -2 (-3, sale)"),
        (
            watch.metric_line(cell("S1", 2)),
            "day    from 2026-03-02 00:00Z store S1: orders 2, returns 0, customers 1, no rate",
        ),
        (
            watch.alert_line(ALERT),
            "2026-03-02 12:00:00Z high   0.9 velocity (on trial) card [red]\\x1b[2J, store S1, {}",
        ),
    ],
)
def test_a_record_is_a_readable_line_that_can_do_nothing_to_the_terminal(line: str, wanted: str) -> None:
    assert Text.from_markup(line).plain == wanted


def test_the_board_has_the_newest_window_and_of_each_cell_the_newest_revision() -> None:
    board = watch.Board()
    yesterday = cell("all", 99, window_start="2026-03-01T00:00:00.000000Z")
    for taken in (yesterday, cell("S1", 5), cell("all", 8, 2), cell("all", 7, 1), cell("S2", 3), yesterday):
        board.take(taken)
    table = board.table()
    assert [list(column.cells) for column in table.columns[1:3]] == [["all", "store S1", "store S2"], ["8", "5", "3"]]


@pytest.fixture
def two_alerts(lake_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A topic that holds two alerts, as ``retail watch alerts`` reads it."""
    ensure_topics(lake_settings)
    _raise(lake_settings, "first", "second")
    monkeypatch.setattr(watch, "get_settings", lambda: lake_settings)
    return lake_settings


def _raise(settings: Settings, *stores: str) -> None:
    # One card, so one partition: they are read in the order in which they were sent.
    deliver(settings, [message(ALERT | {"store_id": store}, "tok-1", FRAUD_ALERTS.topic) for store in stores])


def watched(*options: str) -> list[str]:
    """The stores of the alerts that the command shows before it ends."""
    done = CliRunner().invoke(app, ["watch", "alerts", "--json", *options])
    assert done.exit_code == 0, done.exception
    return [json.loads(line)["store_id"] for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        (("--to-end",), ["first", "second"]),
        (("--from-start", "--to-end", "--limit", "9"), ["first", "second"]),
        (("--from-start", "--limit", "1"), ["first"]),
    ],
)
@pytest.mark.usefixtures("two_alerts")
def test_what_the_topic_holds_is_shown_and_the_command_ends(options: tuple[str, ...], shown: list[str]) -> None:
    assert watched(*options) == shown


def test_with_fewer_than_the_limit_it_says_that_it_waits_and_goes_on(
    two_alerts: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    def tell(line: str) -> None:
        told.append(line)
        threading.Thread(target=_raise, args=(two_alerts, "third")).start()

    monkeypatch.setattr(watch.err, "print", tell)
    assert watched("--from-start", "--limit", "3") == ["first", "second", "third"]
    assert told == ["fraud-alerts: it held 2 of 3; waiting for more (--to-end would end here)"]
