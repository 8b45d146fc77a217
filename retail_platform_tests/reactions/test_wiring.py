"""The reactions on a real broker: what the rules say in a batch, the stream says too, killed or not, and once."""

from __future__ import annotations

import datetime as dt
import signal
import uuid
from pathlib import Path
from typing import Any

import pytest

from retail_platform.contracts import FRAUD_ALERTS, INVENTORY, LIVE_METRICS, STOCK_LEVELS, TRANSACTIONS
from retail_platform.contracts.judge import judge
from retail_platform.contracts.model import TopicContract
from retail_platform.kafka import ensure_topics
from retail_platform.reactions.applications import METRICS
from retail_platform.reactions.events import transaction
from retail_platform.reactions.fraud import cards
from retail_platform.reactions.fraud.state import State
from retail_platform.reactions.metrics.rates import Rates, read_rates
from retail_platform.settings import FX_RATES, Settings
from retail_platform_tests.ingest.running import deliver, empty_topics, message, sale
from retail_platform_tests.reactions.running import running, said, start, until

LONDON, NEW_YORK = (51.5, -0.1), (40.7, -74.0)


@pytest.fixture
def reactions_settings(broker: Settings, tmp_path: Path) -> Settings:
    """Settings that reach the suite's broker, whose topics are empty, with a group and a state that nobody had before."""
    ensure_topics(broker)
    # Topics whose records are all gone, as after their retention: there is nothing to wait for in them.
    deliver(broker, [message({"event_id": str(uuid.uuid4())}, topic=INVENTORY.topic), message(sale())])
    empty_topics(broker)
    return broker.model_copy(
        update={"retail_home": tmp_path / "home", "reactions_group": f"test-{uuid.uuid4().hex[:8]}"}
    )


def bought(card: str, place: tuple[float, float], minute: int, **changes: Any) -> dict[str, Any]:
    """A purchase with a card in the shop, ``minute`` minutes into the hour before last."""
    hour = dt.datetime.now(dt.UTC).replace(minute=0, second=0, microsecond=0) - dt.timedelta(hours=2)
    return sale(
        event_time=(hour + dt.timedelta(minutes=minute)).isoformat(),
        payment={"method": "card", "card_token": card},
        location={"country": "United Kingdom", "latitude": place[0], "longitude": place[1]},
        **changes,
    )


def in_a_batch(events: list[dict[str, Any]], rates: Rates) -> dict[str, dict[str, Any]]:
    """The alerts that the rules raise over the events in this order, by id."""
    states: dict[str, State] = {}
    found: dict[str, dict[str, Any]] = {}
    for raw in events:
        value = message(raw).value
        event = judge(TRANSACTIONS, value, dt.datetime.now(dt.UTC), "UTC", dt.date(2010, 12, 1)).event
        assert event is not None
        purchase = transaction(event)
        card = purchase.card_token or ""
        usd = purchase.amount * (rates.on(purchase.currency, purchase.event_time.date()) or 0)
        states[card], alerts = cards.step(states.get(card, State()), purchase, usd)
        found |= {alert.alert_id: alert.message() for alert in alerts}
    return found


def test_a_card_that_is_in_two_continents_at_once_raises_one_alert(reactions_settings: Settings) -> None:
    card = f"tok-{uuid.uuid4().hex[:8]}"
    twin = bought(card, NEW_YORK, 20)
    with running(reactions_settings) as process:
        deliver(reactions_settings, [message(e) for e in (bought(card, LONDON, 0), twin, twin)] + [message(b"junk")])

        def mine() -> list[dict[str, Any]]:
            return [alert for alert in said(reactions_settings, FRAUD_ALERTS) if alert["card_token"] == card]

        until(process, "the alert", lambda: any(alert["rule"] == "impossible_travel" for alert in mine()))
        (alert,) = (found for found in mine() if found["rule"] == "impossible_travel")
    assert alert["transaction_event_id"] == twin["event_id"]
    assert _reasons(FRAUD_ALERTS, alert) == ()


def test_killed_in_the_middle_it_says_what_the_batch_says_each_alert_once(reactions_settings: Settings) -> None:
    mark = uuid.uuid4().hex[:8]
    events = [
        bought(f"tok-{mark}-{number % 10}", (LONDON, NEW_YORK)[number % 2 * (number % 3 == 0)], number // 10)
        for number in range(300)
    ]
    with FX_RATES.open() as lines:
        wanted = in_a_batch(events, read_rates(lines))
    assert len(wanted) > 50

    def mine() -> list[dict[str, Any]]:
        return [alert for alert in said(reactions_settings, FRAUD_ALERTS) if mark in alert["card_token"]]

    doomed = start(reactions_settings)
    deliver(reactions_settings, [message(event) for event in events[:150]])
    until(doomed, "the first alerts", lambda: bool(mine()))
    deliver(reactions_settings, [message(event) for event in events[150:]])
    doomed.send_signal(signal.SIGKILL)
    doomed.wait()
    with running(reactions_settings) as process:
        until(process, "all alerts", lambda: len(mine()) >= len(wanted))
    found = mine()
    assert len(found) == len({alert["event_id"] for alert in found})
    assert {alert["event_id"]: alert for alert in found} == wanted


def test_sales_and_counts_become_the_stock_and_the_metrics_of_the_day_each_event_once(
    reactions_settings: Settings,
) -> None:
    store = f"S-{uuid.uuid4().hex[:8]}"
    sold = [bought("tok-any", LONDON, minute, store_id=store, currency="USD") for minute in range(1, 21)]
    counted = {
        "event_id": str(uuid.uuid4()),
        "event_time": sold[9]["event_time"],
        "store_id": store,
        "product_id": "P1",
        "movement": "count",
        "quantity": 50,
    }
    with running(reactions_settings) as process, running(reactions_settings, METRICS):
        deliver(reactions_settings, [message(event, event["transaction_id"]) for event in (*sold, *sold)])
        deliver(reactions_settings, [message(counted, f"{store}:P1", INVENTORY.topic)])

        def newest(contract: TopicContract, **wanted: str) -> dict[str, Any]:
            mine = [row for row in said(reactions_settings, contract) if wanted.items() <= row.items()]
            return max(mine, key=lambda row: row["revision"], default={})

        day = {"grain": "day", "dimension": "store", "dimension_value": store}
        until(process, "the day", lambda: newest(LIVE_METRICS, **day).get("orders") == 20)
        until(process, "the stock", lambda: newest(STOCK_LEVELS, stock_key=f"{store}:P1").get("revision") == 21)
        metric, level = newest(LIVE_METRICS, **day), newest(STOCK_LEVELS, stock_key=f"{store}:P1")
    # A sale is two of P1 at 10.10 less 0.20, and one of P2 at 5.0125.
    assert (metric["revision"], metric["units"], metric["revenue_usd"]) == (20, 60, "500.25")
    # The first ten sales were before the count, or at its moment.
    assert (level["on_hand"], level["counted_quantity"], level["refused_events"]) == (50 - 10 * 2, 50, 0)
    for contract, row in ((LIVE_METRICS, metric), (STOCK_LEVELS, level)):
        assert _reasons(contract, row) == ()


def _reasons(contract: TopicContract, row: dict[str, Any]) -> tuple[str, ...]:
    return judge(contract, message(row).value, dt.datetime.now(dt.UTC), "UTC", dt.date(2010, 12, 1)).reasons
