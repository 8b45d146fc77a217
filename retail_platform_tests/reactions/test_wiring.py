"""The reactions on a real broker: what the rules say in a batch, the stream says too, killed or not, and once."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
from quixstreams.models.topics.admin import TopicAdmin

from retail_platform.contracts import (
    CUSTOMER_SEGMENTS,
    FRAUD_ALERTS,
    FRAUD_LABELS,
    INVENTORY,
    LIVE_METRICS,
    PRICE_UPDATES,
    REORDER_REQUESTS,
    STOCK_LEVELS,
    TRANSACTIONS,
)
from retail_platform.contracts.judge import judge
from retail_platform.contracts.model import TopicContract
from retail_platform.defs import prices as dagster_prices
from retail_platform.defs import reactions as dagster_reactions
from retail_platform.lakehouse.heartbeat import read_heartbeat
from retail_platform.producer.message import Message, reorder_release
from retail_platform.reactions import batch
from retail_platform.reactions.applications import MARKETING, METRICS, REACTIONS
from retail_platform.reactions.events import Transaction, movement, transaction
from retail_platform.reactions.fraud.alerts import Alert
from retail_platform.reactions.fraud.features import MODEL_NAMES
from retail_platform.reactions.fraud.labels import Label, Verdict, label_id
from retail_platform.reactions.fraud.model import LEAF, Model, Tree, versioned
from retail_platform.reactions.fraud.published import CURRENT, write
from retail_platform.reactions.metrics.rates import Money, read_rates
from retail_platform.reactions.outputs import rfc3339
from retail_platform.reactions.prices import live
from retail_platform.reactions.prices import rule as pricing
from retail_platform.reactions.prices.terms import Listed
from retail_platform.reactions.segments import customers
from retail_platform.reactions.segments.quintiles import Cutoffs
from retail_platform.reactions.stock import daily_limit, levels, reorder
from retail_platform.reactions.wiring.job import wired
from retail_platform.settings import FX_RATES, Settings
from retail_platform_tests.environment import environment
from retail_platform_tests.ingest.running import deliver, message, sale
from retail_platform_tests.reactions.planted import LONDON, NEW_YORK, TERMS, bought, count_of, publish_customers
from retail_platform_tests.reactions.running import members, running, said, start, until


def by_id(alerts: Iterable[Alert]) -> dict[str, dict[str, Any]]:
    """The alerts as their topic has them, by id."""
    return {alert.alert_id: alert.message() for alert in alerts}


def of_stores_and_tills(
    events: Iterable[Transaction | Label], money: Money, model: Model
) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    """The alerts of risky stores, and those of the model, over the purchases and verdicts in this order, by id."""
    going = list(batch.to_stores(events, money))
    return by_id(batch.store_alerts(going)), by_id(batch.till_alerts(going, model))


def label(purchase: Transaction, verdict: Verdict) -> Label:
    """A verdict that is given now."""
    given, paid = dt.datetime.now(dt.UTC), purchase.event_time
    identity = label_id(purchase.event_id, verdict, given)
    return Label(identity, given, purchase.event_id, paid, purchase.store_id, verdict, purchase.register_id)


def verdicts_on(purchases: list[Transaction]) -> list[Label]:
    """Of each three purchases two were fraud; the last verdict of all takes one back."""
    labels = [label(one, "dismissed" if number % 3 == 0 else "confirmed") for number, one in enumerate(purchases)]
    return [*labels, label(purchases[1], "dismissed")]


def heard(settings: Settings) -> int:
    """How many purchases and verdicts are on their way to their stores."""
    return len(said(settings, FRAUD_LABELS.named(f"{settings.reactions_group}-fraud-by-store")))


def publish_model(settings: Settings) -> Model:
    """A model in use that finds more than twenty purchases of a card in a day suspicious, and a till of mostly frauds."""
    rules = (("customer_purchases_1d", 20.0), ("terminal_risk_30d", 0.5))
    trees = tuple(
        Tree((MODEL_NAMES.index(name), LEAF, LEAF), (most, 0.0, 0.0), (1, LEAF, LEAF), (2, LEAF, LEAF), (0.2, 0.1, 0.9))
        for name, most in rules
    )
    model = versioned("2026-03-02", 0.5, trees, {}, {})
    write(settings.fraud_models_dir / CURRENT, model)
    return model


def segments_in_a_batch(
    sales: list[Transaction], money: Money, cutoffs: Cutoffs, midnight: dt.datetime
) -> dict[str, dict[str, Any]]:
    """The changes of segment over the purchases in this order, and then at midnight, by id."""
    bought = [found for one in sales if (found := customers.from_transaction(one, money.rate(one))) is not None]
    midnights = [customers.Refresh(midnight, name) for name in {event.customer_id for event in bought}]
    changes = batch.segment_changes([*bought, *midnights], cutoffs, customers.DEFAULT)
    return {change.message()["event_id"]: change.message() for change in changes}


def sent_at_midnight(settings: Settings) -> Any:
    """Run the job of the customers' midnight: how many customers were told."""
    job = dagster_reactions.refreshes(settings).resolve_job_def("customer_midnight")
    refresh = job.execute_in_process()
    return refresh.asset_materializations_for_node("customer_refreshes")[0].metadata["customers"].value


def priced_in_a_batch(sales: list[Transaction], money: Money, product: str, on_hand: int) -> dict[str, Any]:
    """The last decision on a product's price, once its sales and its stock are known; but for when it was made."""
    now = dt.datetime.now(dt.UTC)
    sold = [live.from_sold(sold, now) for one in sales for sold in pricing.from_transaction(one, money.rate(one))]
    stocked = pricing.Stocked(product, "S001", on_hand, 1)
    level = live.Happened(now + dt.timedelta(seconds=1), now, str(uuid.uuid4()), product, stocked)
    updates = list(batch.price_updates([*sold, level], {product: Listed(TERMS, applies=False)}, pricing.DEFAULT))
    return decided(updates[-1].message())


def decided(update: dict[str, Any]) -> dict[str, Any]:
    """What an update says, but for its number and time: how many went before it depends on what came first."""
    return {name: value for name, value in update.items() if name not in ("event_id", "event_time", "sequence")}


def reorders_in_a_batch(counts: list[Message], sales: list[Transaction]) -> dict[str, dict[str, Any]]:
    """The requests to reorder over the counts and then the sales in this order, by id."""
    now, first = dt.datetime.now(dt.UTC), dt.date(2010, 12, 1)
    counted = [judge(INVENTORY, one.value, now, "UTC", first).event for one in counts]
    changes = [levels.from_movement(movement(event)) for event in counted if event is not None]
    changes += [change for sale in sales for change in levels.from_transaction(sale)]
    due = batch.needs(batch.stock_levels(changes), lambda _product: reorder.DEFAULT)
    found = [request.message() for request in batch.reorder_requests(due, daily_limit.Parameters())]
    return {request["event_id"]: request for request in found}


def in_dollars() -> Money:
    """The exchange rates that the applications count with."""
    with FX_RATES.open() as lines:
        return Money(read_rates(lines), ZoneInfo("UTC"))


def typed(events: list[dict[str, Any]]) -> list[Transaction]:
    """The events as the rules see them."""
    judged = [
        judge(TRANSACTIONS, message(raw).value, dt.datetime.now(dt.UTC), "UTC", dt.date(2010, 12, 1)) for raw in events
    ]
    return [transaction(found.event) for found in judged if found.event is not None]


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


def test_killed_in_the_middle_they_say_what_the_batch_says_each_thing_once(reactions_settings: Settings) -> None:
    mark = uuid.uuid4().hex[:8]
    events = [
        bought(
            f"tok-{mark}-{number % 10}",
            (LONDON, NEW_YORK)[number % 2 * (number % 3 == 0)],
            number // 10,
            days_ago=7,
            customer_id=f"C-{mark}-{number % 10}",
        )
        for number in range(300)
    ]
    sales = typed(events)
    money = in_dollars()
    model = publish_model(reactions_settings)
    alerts, (_, scored) = by_id(batch.card_alerts(sales, money)), of_stores_and_tills(sales, money, model)
    assert len(alerts) > 50
    assert len(scored) == 10 * 10
    alerts |= scored
    midnight, cutoffs = publish_customers(reactions_settings, {event["customer_id"] for event in events})
    # New, loyal, champion; and at midnight one that is too good to lose.
    segments = segments_in_a_batch(sales, money, cutoffs, midnight)
    assert len(segments) == 10 * 4

    def mine(contract: TopicContract, field: str) -> list[dict[str, Any]]:
        return [row for row in said(reactions_settings, contract) if mark in row[field]]

    def raised() -> list[dict[str, Any]]:
        return mine(FRAUD_ALERTS, "card_token")

    def moved() -> list[dict[str, Any]]:
        return mine(CUSTOMER_SEGMENTS, "customer_id")

    doomed = [start(reactions_settings, which) for which in (REACTIONS, MARKETING)]
    deliver(reactions_settings, [message(event) for event in events[:150]])
    until(doomed[0], "the first alerts", lambda: bool(raised()))
    until(doomed[1], "the first segments", lambda: bool(moved()))
    deliver(reactions_settings, [message(event) for event in events[150:]])
    for process in doomed:
        process.kill()
        process.wait()
    latest = bought(f"tok-last-{mark}", LONDON, 0)
    labels = verdicts_on(sales)
    of_stores, of_tills = of_stores_and_tills([*sales, *labels, *typed([latest])], money, model)
    risky = of_stores | of_tills
    risky = {identity: alert for identity, alert in risky.items() if identity not in scored}
    assert {alert["transaction_event_id"] for alert in risky.values()} == {latest["event_id"]}
    assert {alert["rule"] for alert in risky.values()} == {"store_risk", "model"}

    def price() -> dict[str, Any]:
        mine = [row for row in said(reactions_settings, PRICE_UPDATES) if row["product_id"] == "P1"]
        assert sorted(row["sequence"] for row in mine) == list(range(1, len(mine) + 1))
        return max(mine, key=lambda row: row["sequence"], default={})

    with running(reactions_settings) as process, running(reactions_settings, MARKETING) as other:
        until(other, "the segments of all purchases", lambda: len(moved()) >= 10 * 3)
        assert sent_at_midnight(reactions_settings) == 10
        until(process, "all alerts", lambda: len(raised()) >= len(alerts))
        until(other, "the segments of midnight", lambda: len(moved()) >= len(segments))
        keyed = [message(one.message(), one.transaction_event_id, FRAUD_LABELS.topic) for one in (*labels, labels[-1])]
        deliver(reactions_settings, keyed)
        until(process, "the verdicts", lambda: heard(reactions_settings) == len(sales) + len(keyed))
        # Of a week ago are all sales so far; with this one demand and stock are known up to now.
        deliver(reactions_settings, [message(latest)])
        until(other, "the price", lambda: price().get("status") == "recommended")
        update = price()
        until(process, "the risky store and till", lambda: len(raised()) >= len(alerts) + len(risky))
    alerts |= risky
    for wanted, found in ((alerts, raised()), (segments, moved())):
        assert len(found) == len({row["event_id"] for row in found})
        assert {row["event_id"]: row for row in found} == wanted
    assert decided(update) == priced_in_a_batch([*sales, *typed([latest])], money, "P1", on_hand=-2 * 301)
    assert {_reasons(CUSTOMER_SEGMENTS, row) for row in moved()} | {_reasons(PRICE_UPDATES, update)} == {()}


def test_reorders_of_an_application_killed_in_the_middle_are_those_of_the_batch_each_once(
    reactions_settings: Settings,
) -> None:
    mark, days = uuid.uuid4().hex[:8], 20
    store, products = f"S-{mark}", [f"P{number}-{mark}" for number in range(10)]
    sales = [
        bought(
            "tok-any",
            LONDON,
            0,
            days_ago=day,
            store_id=store,
            items=[{"product_id": product, "quantity": 2, "unit_price": "1", "discount": "0"} for product in sold],
        )
        for sold in (products[:5], products[5:])
        for day in range(days, 0, -1)
    ]
    counts = [count_of(store, sales[0]["event_time"], 2 * days, product) for product in products]
    requests = reorders_in_a_batch(counts, typed(sales))
    assert {request["product_id"] for request in requests.values()} == set(products)

    def asked() -> list[dict[str, Any]]:
        return [row for row in said(reactions_settings, REORDER_REQUESTS) if row["store_id"] == store]

    def levels_told() -> int:
        return sum(row["store_id"] == store for row in said(reactions_settings, STOCK_LEVELS))

    # All of one key, and so of one partition: in this order.
    records = [message(event) for event in sales]
    doomed = start(reactions_settings)
    try:
        deliver(reactions_settings, counts)
        until(doomed, "the counts", lambda: levels_told() == len(products))
        deliver(reactions_settings, records[:days])
        until(doomed, "the first requests", lambda: bool(asked()))
        deliver(reactions_settings, records[days:])
    finally:
        doomed.kill()
        doomed.wait()
    with running(reactions_settings) as process:
        until(process, "all requests", lambda: len(asked()) >= len(requests))
        # The last sales again, and one more: when that is told, the twins have been read, and ask for nothing.
        deliver(reactions_settings, [*records[-10:], message(bought("tok-any", LONDON, 0, store_id=store))])
        until(process, "what was sent last", lambda: levels_told() == len(products) * (1 + days) + 2)
        found = asked()
    assert len(found) == len(requests)
    assert {row["event_id"]: row for row in found} == requests
    assert {_reasons(REORDER_REQUESTS, row) for row in found} == {()}


@pytest.mark.soak
def test_of_two_processes_that_share_the_work_one_is_killed_and_the_other_takes_over(
    reactions_settings: Settings,
) -> None:
    mark = uuid.uuid4().hex[:8]
    store, of = f"S-{mark}", 20
    events = [
        bought(
            f"tok-{mark}-{number % of}",
            (LONDON, NEW_YORK)[number // of % 2],
            number // of,
            days_ago=1,
            store_id=store,
            transaction_id=f"{mark}-{number}",
        )
        for number in range(600)
    ]
    counted = count_of(store, events[0]["event_time"], 5000)
    # Each has a folder of its own, as on two machines: what the one knew, the other has from Kafka alone. But for the model:
    # that is a file, here the same in both.
    elsewhere = reactions_settings.model_copy(update={"retail_home": reactions_settings.retail_home / "elsewhere"})
    model = publish_model(reactions_settings)
    assert publish_model(elsewhere) == model
    money = in_dollars()
    alerts = by_id(batch.card_alerts(typed(events), money))
    before, scored = (of_stores_and_tills(typed(sent), money, model)[1] for sent in (events[:400], events))
    # What the model finds suspicious is all sent after the kill, and rests on what was sent before.
    assert (len(before), len(scored)) == (0, 10 * of)
    alerts |= scored
    after_the_count = [event for event in events if event["event_time"] > events[0]["event_time"]]

    def raised() -> list[dict[str, Any]]:
        return [alert for alert in said(reactions_settings, FRAUD_ALERTS) if mark in alert["card_token"]]

    def level() -> dict[str, Any]:
        mine = [row for row in said(reactions_settings, STOCK_LEVELS) if row["stock_key"] == f"{store}:P1"]
        assert len(mine) == len({row["event_id"] for row in mine})
        return max(mine, key=lambda row: row["revision"], default={"revision": 0})

    # A card's purchases are of one partition, or they would overtake each other and the batch be another.
    records = [message(event, event["payment"]["card_token"]) for event in events]
    parts = [records[begin : begin + 200] for begin in (0, 200, 400)]
    doomed = start(elsewhere)
    try:
        with running(reactions_settings) as survivor:
            # Sooner, the one that is up first would read it all.
            until(survivor, "both have partitions", lambda: members(reactions_settings, REACTIONS) == 2)
            deliver(reactions_settings, [counted, *parts[0]])
            until(survivor, "what was sent first", lambda: level()["revision"] == 200 + 1)

            def both_work() -> bool:
                beats = [read_heartbeat(settings, REACTIONS.name) for settings in (reactions_settings, elsewhere)]
                return all(beat is not None and beat.queries[0].rows > 0 for beat in beats)

            until(survivor, "both have had a part", both_work)
            deliver(reactions_settings, parts[1])
            until(survivor, "some of the second part", lambda: level()["revision"] > 200 + 1)
            doomed.kill()
            doomed.wait()
            deliver(reactions_settings, parts[2])
            until(survivor, "the stock", lambda: level()["revision"] == len(events) + 1)
            until(survivor, "all alerts", lambda: len(raised()) >= len(alerts))
            found, stock = raised(), level()
    finally:
        doomed.kill()
        doomed.wait()
    assert len(found) == len({alert["event_id"] for alert in found})
    assert {alert["event_id"]: alert for alert in found} == alerts
    assert stock["on_hand"] == 5000 - 2 * len(after_the_count)


def test_sales_and_counts_become_the_stock_and_the_metrics_of_the_day_each_event_once(
    reactions_settings: Settings,
) -> None:
    store = f"S-{uuid.uuid4().hex[:8]}"
    sold = [bought("tok-any", LONDON, minute, store_id=store, currency="USD") for minute in range(1, 21)]
    counted = count_of(store, sold[9]["event_time"], 50)
    with running(reactions_settings) as process, running(reactions_settings, METRICS):
        deliver(reactions_settings, [message(event, event["transaction_id"]) for event in (*sold, *sold)])
        deliver(reactions_settings, [counted])

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


def test_an_order_over_the_stores_daily_limit_is_held_until_a_person_releases_it(reactions_settings: Settings) -> None:
    settings = reactions_settings.model_copy(update={"reorder_daily_limit": 0})
    store = f"S-{uuid.uuid4().hex[:8]}"
    long_ago = dt.datetime.now(dt.UTC) - dt.timedelta(days=21)
    sold = [bought("tok-any", LONDON, 0, days_ago=days, store_id=store) for days in range(20, -1, -1)]

    def orders() -> dict[str, dict[str, Any]]:
        return {row["status"]: row for row in said(settings, REORDER_REQUESTS) if row["store_id"] == store}

    with running(settings) as process:
        deliver(settings, [count_of(store, long_ago.isoformat(), 50)])
        until(process, "the count", lambda: any(row["store_id"] == store for row in said(settings, STOCK_LEVELS)))
        # By one key they come in order: of three weeks, what was a week late would be folded away.
        deliver(settings, [message(event, store) for event in sold])
        until(process, "a request", lambda: "held" in orders())
        held = orders()["held"]
        deliver(settings, [reorder_release(store, "P1", held["cycle"] + 1)])
        release = [Path(sys.executable).with_name("retail"), "reactions", "release", store, "P1", str(held["cycle"])]
        subprocess.run(release, env=environment(settings), check=True, capture_output=True)
        until(process, "its release", lambda: "released" in orders())
    released = orders()["released"]
    changed = {"event_id", "event_time", "status"}
    assert {name for name in held if held[name] != released[name]} == changed
    assert _reasons(REORDER_REQUESTS, held) == _reasons(REORDER_REQUESTS, released) == ()


def test_the_topics_of_an_application_are_fresh_until_events_wait_for_it(reactions_settings: Settings) -> None:
    sensor = dagster_reactions.progress(reactions_settings)
    cursor: str | None = None

    def looked() -> dict[str, set[str]]:
        """What the sensor says of the topics, by kind: once more."""
        nonlocal cursor
        found = sensor.evaluate_tick(dg.build_sensor_context(cursor=cursor))
        cursor = found.cursor
        events: dict[str, set[str]] = defaultdict(set)
        for event in found.asset_events:
            events[type(event).__name__].add(event.asset_key.path[-1])
        return dict(events)

    def answered(said_now: dict[str, set[str]]) -> bool:
        return LIVE_METRICS.topic in said_now.get("AssetMaterialization", set())

    # Of the shops' two topics the metrics read one.
    moved = count_of("S001", dt.datetime.now(dt.UTC).isoformat(), 50)
    deliver(reactions_settings, [moved, *(message(sale()) for _ in range(20))])
    with running(reactions_settings, METRICS) as process:
        until(process, "its partitions", lambda: members(reactions_settings, METRICS) == 1)
        assert "AssetMaterialization" not in looked()
        until(process, "an answer to all that was sent", lambda: answered(looked()))
    deliver(reactions_settings, [message(sale()) for _ in range(20)])
    assert answered(looked())
    assert looked() == {"AssetObservation": {LIVE_METRICS.topic}}


def test_prices_are_reviewed_once_all_is_read_and_not_while_an_application_is_behind(
    reactions_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = dagster_prices.build(reactions_settings).resolve_job_def("price_reviews")

    def reviewed() -> Any:
        run = job.execute_in_process()
        return run.asset_materializations_for_node("send_price_reviews")[0].metadata["products"].value

    began = rfc3339(dt.datetime.now(dt.UTC))

    def decisions() -> bool:
        return any(row["event_time"] >= began for row in said(reactions_settings, PRICE_UPDATES))

    deliver(reactions_settings, [count_of("S001", dt.datetime.now(dt.UTC).isoformat(), 50), message(sale())])
    with running(reactions_settings) as process, running(reactions_settings, MARKETING):
        for one in (REACTIONS, MARKETING):
            until(process, "its partitions", lambda one=one: members(reactions_settings, one) == 1)
        assert reviewed() == 1
        until(process, "its decision", decisions)
    deliver(reactions_settings, [message(sale()), message(sale())])
    monkeypatch.setattr(dagster_prices, "_ANSWER_SECONDS", 0.0)
    assert reviewed() == 0


def test_metrics_that_are_killed_while_they_hold_sales_for_a_commit_count_each_of_them_once(
    reactions_settings: Settings,
) -> None:
    store, sales = f"S-{uuid.uuid4().hex[:8]}", 3000
    messages = a_hundred_a_minute(store, sales)

    def counted(grain: str) -> int:
        return sum(row["orders"] for row in cells(reactions_settings, store, grain))

    doomed = start(reactions_settings, METRICS)
    try:
        deliver(reactions_settings, messages[:1])
        until(doomed, "the first sale", lambda: counted("day") == 1)
        deliver(reactions_settings, messages)
    finally:
        doomed.kill()
        doomed.wait()
    assert counted("day") < sales
    with running(reactions_settings, METRICS) as process:
        until(process, "all sales", lambda: counted("day") >= sales and counted("minute") >= sales)
    assert (counted("day"), counted("minute"), counted("hour")) == (sales, sales, sales)
    exact = [sum_of(cells(reactions_settings, store, grain)) for grain in ("minute", "day")]
    assert exact == [sales * Decimal("25.0125")] * 2
    # Many sales, and few words: what comes between two commits is said once.
    assert len(of_store(reactions_settings, store)) < sales / 4


@pytest.mark.soak
def test_metrics_whose_partitions_move_to_another_process_and_back_count_each_sale_once(
    reactions_settings: Settings,
) -> None:
    store, sales = f"S-{uuid.uuid4().hex[:8]}", 4000
    messages = a_hundred_a_minute(store, sales)
    # A folder of its own, as on another machine: what it knows it has from Kafka alone.
    elsewhere = reactions_settings.model_copy(update={"retail_home": reactions_settings.retail_home / "elsewhere"})

    def counted(grain: str) -> int:
        return sum(row["orders"] for row in cells(reactions_settings, store, grain))

    with running(reactions_settings, METRICS) as process:
        deliver(reactions_settings, messages[:1])
        until(process, "the first sale", lambda: counted("day") == 1)
        with running(elsewhere, METRICS):
            sent = 0
            while members(reactions_settings, METRICS) < 2:
                deliver(reactions_settings, messages[sent : sent + 20])
                sent = min(sent + 20, sales // 2)
            deliver(reactions_settings, messages[sent : sales // 2])
            until(process, "half of the sales", lambda: counted("minute") >= sales // 2)
            deliver(reactions_settings, messages[sales // 2 :])
        until(process, "all sales", lambda: counted("day") >= sales and counted("minute") >= sales)
    assert (counted("day"), counted("minute"), counted("hour")) == (sales, sales, sales)
    assert sum_of(cells(reactions_settings, store, "minute")) == sales * Decimal("25.0125")


def a_hundred_a_minute(store: str, sales: int) -> list[Message]:
    """So many sales of a store, of 25.0125 US dollars each, on all partitions."""
    sold = [bought("tok-any", LONDON, number // 100, store_id=store, currency="USD") for number in range(sales)]
    return [message(event, event["transaction_id"]) for event in sold]


def of_store(settings: Settings, store: str) -> list[dict[str, Any]]:
    """What was said of a store's metrics, in the order of each cell's."""
    return [row for row in said(settings, LIVE_METRICS) if row["dimension_value"] == store]


def cells(settings: Settings, store: str, grain: str) -> list[dict[str, Any]]:
    """The newest of each cell of a store, each of which says more than the one before it."""
    newest: dict[str, dict[str, Any]] = {}
    for row in of_store(settings, store):
        assert row["revision"] > newest.get(row["metric_key"], {"revision": 0})["revision"]
        newest[row["metric_key"]] = row
    return [row for row in newest.values() if row["grain"] == grain]


def sum_of(rows: Iterable[dict[str, Any]]) -> Decimal:
    """Their revenue."""
    return sum((Decimal(row["revenue_usd_exact"]) for row in rows), Decimal(0))


def test_a_topic_just_made_that_the_broker_does_not_name_yet_is_waited_for(
    reactions_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: Counter[str] = Counter()
    inspect = TopicAdmin.inspect_topics

    def slow_to_hear(admin: TopicAdmin, names: list[str], timeout: float = 30) -> dict[str, Any]:
        asked.update(names)
        # Not there before it is made, nor when it is asked after for the first time.
        return {
            name: None if name.startswith("changelog__") and asked[name] <= 2 else found
            for name, found in inspect(admin, names, timeout).items()
        }

    monkeypatch.setattr(TopicAdmin, "inspect_topics", slow_to_hear)
    wired(reactions_settings, METRICS)
    assert sorted(count for name, count in asked.items() if name.startswith("changelog__")) == [3, 4]


def _reasons(contract: TopicContract, row: dict[str, Any]) -> tuple[str, ...]:
    return judge(contract, message(row).value, dt.datetime.now(dt.UTC), "UTC", dt.date(2010, 12, 1)).reasons
