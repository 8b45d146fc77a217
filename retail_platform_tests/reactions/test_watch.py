"""What `retail watch` makes of a record, for a person in front of a terminal."""

from __future__ import annotations

from typing import Any

import pytest
from rich.text import Text

from retail_platform.cli import watch

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
