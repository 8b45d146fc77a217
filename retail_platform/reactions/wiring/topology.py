"""What flows where: the branches of the application. What is decided, is decided in the rules."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any, cast
from zoneinfo import ZoneInfo

from quixstreams import Application, State
from quixstreams.dataframe import StreamingDataFrame

from retail_platform.contracts.inventory import INVENTORY
from retail_platform.contracts.judge import judge
from retail_platform.contracts.model import TopicContract
from retail_platform.contracts.reactions import (
    CUSTOMER_REFRESHES,
    CUSTOMER_SEGMENTS,
    FRAUD_ALERTS,
    FRAUD_LABELS,
    LIVE_METRICS,
    PRICE_ROLLBACKS,
    PRICE_UPDATES,
    REORDER_REQUESTS,
    STOCK_LEVELS,
)
from retail_platform.contracts.transactions import TRANSACTIONS
from retail_platform.errors import SettingsError
from retail_platform.reactions.applications import MARKETING, METRICS, ReactionApplication
from retail_platform.reactions.events import Transaction, movement, transaction
from retail_platform.reactions.fraud import cards, purchases, stores, tills
from retail_platform.reactions.fraud.published import Published as PublishedModel
from retail_platform.reactions.fraud.state import unpacked as unpacked_card
from retail_platform.reactions.metrics import cells, duplicates
from retail_platform.reactions.metrics.rates import Rates
from retail_platform.reactions.prices import live
from retail_platform.reactions.prices import rule as pricing
from retail_platform.reactions.prices.guardrails import Guardrails
from retail_platform.reactions.prices.terms import read_terms
from retail_platform.reactions.segments import customers
from retail_platform.reactions.segments.published import Published
from retail_platform.reactions.stock import daily_limit, levels, reorder
from retail_platform.reactions.wiring.application import between, sink, source
from retail_platform.settings import Settings

#: A JSON object on its way.
Json = dict[str, Any]
Store = State[str, Any]

# Live metrics are of this time past; what comes later is for the marts. Their state is kept a little longer, so that no cell
# begins again at nothing, and no copy of an event counts a second time.
_LIVE_FOR = dt.timedelta(days=31)
_KEPT_FOR = _LIVE_FOR + dt.timedelta(days=4)


def wire(app: Application, which: ReactionApplication, settings: Settings, rates: Rates) -> None:
    """Connect the branches of an application; ``app.run()`` then runs them."""
    sales = _valid(app, TRANSACTIONS.named(settings.kafka_topic), settings)
    money = _Money(rates, ZoneInfo(settings.business_timezone))
    if which is METRICS:
        _metrics(app, sales, money)
    elif which is MARKETING:
        _segments(app, sales, money, settings)
        _prices(app, sales, money, settings)
    else:
        _fraud(app, sales, money, settings)
        _stock(app, sales, _valid(app, INVENTORY, settings), settings)


class _Money:
    """What a transaction is worth in US dollars: the rate of its currency on its business date."""

    def __init__(self, rates: Rates, timezone: ZoneInfo) -> None:
        self.timezone = timezone
        self._rates = rates

    def rate(self, event: Transaction) -> Decimal | None:
        """US dollars for one unit of the transaction's currency; ``None`` when there is no rate."""
        return self._rates.on(event.currency, event.event_time.astimezone(self.timezone).date())


def _valid(app: Application, contract: TopicContract, settings: Settings) -> StreamingDataFrame:
    """The events that the contract accepts, as :class:`Judgement.event` holds them: what silver refuses, no rule sees."""

    def judged(value: bytes, _key: object, timestamp: int, _headers: object) -> Json | None:
        return judge(
            contract, value, _appended(timestamp), settings.business_timezone, settings.partitions_start_date
        ).event

    return app.dataframe(source(app, contract)).apply(judged, metadata=True).filter(bool)


def _appended(timestamp: int) -> dt.datetime:
    """When the broker appended a record."""
    return dt.datetime.fromtimestamp(timestamp / 1000, dt.UTC)


def _by(rows: StreamingDataFrame, name: str, key: Callable[[Json], str]) -> StreamingDataFrame:
    """The rows with another key, through a topic of that name."""
    return rows.group_by(key, name=name, key_serializer="str", key_deserializer="str")


def _fraud(app: Application, sales: StreamingDataFrame, money: _Money, settings: Settings) -> None:
    """By card its purchases in; by store and by till its card purchases and the verdicts on them in; alerts out of each."""
    published = PublishedModel(settings.fraud_models_dir)

    def on_till(packed: Json, state: Store) -> list[Json]:
        before = tills.unpacked(state.get("till"))
        after, alerts = tills.step(before, tills.unpacked_event(packed), published.model())
        if after is not before:
            state.set("till", after.packed())
        return [alert.message() for alert in alerts]

    labels = _valid(app, FRAUD_LABELS, settings)
    by_store, by_till = (between(app, settings, f"fraud-by-{key}") for key in ("store", "till"))
    by_card = _by(sales.filter(lambda event: bool(_card(event))), "card", lambda event: cast("str", _card(event)))
    of_cards = by_card.apply(lambda event, state: _on_card(event, state, money), stateful=True, expand=True)
    counted = of_cards.filter(lambda row: "bought" in row).apply(lambda row: row["bought"])
    for branch in (sales.apply(_bought).filter(bool), labels):
        branch.to_topic(by_store, key=lambda packed: packed["store_id"])
    for branch in (counted, labels):
        branch.to_topic(by_till, key=tills.key_of)
    out = sink(app, FRAUD_ALERTS)
    for alerts in (
        of_cards.filter(lambda row: "alert" in row).apply(lambda row: row["alert"]),
        app.dataframe(by_store).apply(_on_store, stateful=True, expand=True),
        app.dataframe(by_till).apply(on_till, stateful=True, expand=True),
    ):
        alerts.to_topic(out, key=lambda alert: alert["card_token"])


def _on_card(event: Json, state: Store, money: _Money) -> list[Json]:
    """The alerts of the card's rules, and the purchase with the card's features, on its way to its till."""
    purchase = transaction(event)
    rate = money.rate(purchase)
    amount_usd = None if rate is None else purchase.amount * rate
    before = unpacked_card(state.get("card"))
    after, alerts = cards.step(before, purchase, amount_usd)
    if after is not before:
        state.set("card", after.packed())
    rows = [{"alert": alert.message()} for alert in alerts]
    new = tills.from_transaction(purchase, amount_usd)
    if new is not None:
        features, bought = tills.of_card(tills.unpacked_customer(state.get("features")), new)
        if bought is not None:
            state.set("features", features.packed())
            rows.append({"bought": bought.packed()})
    return rows


def _bought(event: Json) -> Json | None:
    purchase = purchases.from_transaction(transaction(event))
    return None if purchase is None else purchase.packed()


def _on_store(packed: Json, state: Store) -> list[Json]:
    before = stores.unpacked(state.get("store"))
    after, alerts = stores.step(before, stores.unpacked_event(packed))
    if after is not before:
        state.set("store", after.packed())
    return [alert.message() for alert in alerts]


def _card(event: Json) -> str | None:
    return cast("str | None", event["payment"]["card_token"])


def _metrics(app: Application, sales: StreamingDataFrame, money: _Money) -> None:
    """By transaction, so that each event counts once; then by cell: contributions in, the cell's new value out."""

    def first_time(event: Json, _key: object, timestamp: int, _headers: object, state: Store) -> list[Json]:
        found = transaction(event)
        if _appended(timestamp) - found.event_time > _LIVE_FOR:
            return []
        before = duplicates.unpacked(state.get(found.transaction_id))
        after, new = duplicates.step(before, found)
        if after is not before:
            state.set(found.transaction_id, after.packed(), ttl=_KEPT_FOR)
        return [added.packed() for one in new for added in cells.contributions(one, money.rate(one), money.timezone)]

    def on_cell(packed: Json, state: Store) -> list[Json]:
        after, metrics = cells.step(cells.unpacked(state.get("cell")), cells.unpacked_contribution(packed))
        state.set("cell", after.packed(), ttl=_KEPT_FOR)
        return [metric.message() for metric in metrics]

    added = sales.apply(first_time, stateful=True, expand=True, metadata=True)
    by_cell = _by(added, "cell", lambda packed: cells.unpacked_contribution(packed).cell.key)
    metrics = by_cell.apply(on_cell, stateful=True, expand=True)
    metrics.to_topic(sink(app, LIVE_METRICS), key=lambda metric: metric["metric_key"])


def _segments(app: Application, sales: StreamingDataFrame, money: _Money, settings: Settings) -> None:
    """By customer: purchases and midnights in, changes of segment out."""
    parameters = replace(customers.DEFAULT, timezone=settings.business_timezone)
    published = Published(settings.marts_dir)

    def purchase(event: Json) -> Json | None:
        bought = transaction(event)
        found = customers.from_transaction(bought, money.rate(bought))
        return None if found is None else found.packed()

    def on_customer(packed: Json, state: Store) -> list[Json]:
        before = customers.unpacked(state.get("customer"))
        after, found = customers.step(before, customers.unpacked_event(packed), published.cutoffs(), parameters)
        if after != before:
            state.set("customer", after.packed())
        return [change.message() for change in found]

    refreshes = _valid(app, CUSTOMER_REFRESHES, settings).apply(lambda event: customers.from_message(event).packed())
    changes = between(app, settings, "customer-changes")
    for branch in (sales.apply(purchase).filter(bool), refreshes):
        branch.to_topic(changes, key=lambda packed: packed["customer_id"])
    segments = app.dataframe(changes).apply(on_customer, stateful=True, expand=True)
    segments.to_topic(sink(app, CUSTOMER_SEGMENTS), key=lambda change: change["customer_id"])


def _prices(app: Application, sales: StreamingDataFrame, money: _Money, settings: Settings) -> None:
    """By product that has terms: sales, stock levels and rollbacks in, decisions on its price out."""
    try:
        with settings.price_terms_file.open(encoding="utf-8", newline="") as lines:
            terms = read_terms(lines, str(settings.price_terms_file))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"PRICE_TERMS_FILE={settings.price_terms_file} cannot be read ({error}); name a CSV file"
        ) from error
    advises = replace(
        pricing.DEFAULT,
        guardrails=Guardrails(emergency=settings.prices_emergency),
        timezone=settings.business_timezone,
    )
    applies = replace(advises, applies=settings.prices == "apply")

    def sold(event: Json, _key: object, timestamp: int, _headers: object) -> list[Json]:
        bought = transaction(event)
        found = pricing.from_transaction(bought, money.rate(bought))
        return [live.from_sold(one, _appended(timestamp)).packed() for one in found if one.product_id in terms]

    def stocked(event: Json, _key: object, timestamp: int, _headers: object) -> list[Json]:
        return [live.from_level(event, _appended(timestamp)).packed()] if event["product_id"] in terms else []

    def rolled_back(event: Json, _key: object, timestamp: int, _headers: object) -> list[Json]:
        return [live.from_rollback(event, _appended(timestamp)).packed()] if event["product_id"] in terms else []

    def on_product(packed: Json, state: Store) -> list[Json]:
        event, before = live.unpacked_event(packed), live.unpacked(state.get("price"))
        listed = terms.get(event.product_id)
        if listed is None:  # its terms were taken out while the record was on its way
            return []
        parameters = applies if listed.applies else advises
        after, updates = live.step(before, event, listed.terms, parameters, reviews=settings.prices != "off")
        if after != before:
            state.set("price", after.packed())
        return [update.message() for update in updates]

    changes = between(app, settings, "price-changes")
    for rows, taken in (
        (sales, sold),
        (_valid(app, STOCK_LEVELS, settings), stocked),
        (_valid(app, PRICE_ROLLBACKS, settings), rolled_back),
    ):
        rows.apply(taken, expand=True, metadata=True).to_topic(changes, key=lambda packed: packed["product_id"])
    updates = app.dataframe(changes).apply(on_product, stateful=True, expand=True)
    updates.to_topic(sink(app, PRICE_UPDATES), key=lambda update: update["product_id"])


def _stock(app: Application, sales: StreamingDataFrame, movements: StreamingDataFrame, settings: Settings) -> None:
    """By store and product: sales and movements in, the stock out, and requests to reorder, within a store's daily limit."""
    policy = replace(reorder.DEFAULT, timezone=settings.business_timezone)
    limit = replace(daily_limit.DEFAULT, timezone=settings.business_timezone)

    def on_stock(packed: Json, state: Store) -> list[Json]:
        before = levels.unpacked(state.get("level"))
        after, found = levels.step(before, levels.unpacked_event(packed))
        if after is not before:
            state.set("level", after.packed())
        needs, requests = reorder.unpacked(state.get("reorder")), []
        for level in found:
            needs, asked = reorder.step(needs, level, policy)
            requests += [request.packed() for request in asked]
        if found:
            state.set("reorder", needs.packed())
        return [{"level": level.message()} for level in found] + [{"request": request} for request in requests]

    def on_store(row: Json, state: Store) -> list[Json]:
        before = daily_limit.unpacked(state.get("limit"))
        after, found = daily_limit.step(before, reorder.unpacked_request(row), limit)
        if after is not before:
            state.set("limit", after.packed())
        return [request.message() for request in found]

    sold = sales.apply(lambda event: [one.packed() for one in levels.from_transaction(transaction(event))], expand=True)
    moved = movements.apply(lambda event: levels.from_movement(movement(event)).packed())
    # Through a topic, not by joining the branches: the library would keep them in step by time, and wait for ever for a topic
    # whose records are all past their retention.
    changes = between(app, settings, "stock-changes")
    for branch in (sold, moved):
        branch.to_topic(changes, key=lambda packed: levels.unpacked_event(packed).key)
    found = app.dataframe(changes).apply(on_stock, stateful=True, expand=True)
    stock = found.filter(lambda row: "level" in row).apply(lambda row: row["level"])
    stock.to_topic(sink(app, STOCK_LEVELS), key=lambda level: level["stock_key"])
    asked = between(app, settings, "requests-by-store")
    found.filter(lambda row: "request" in row).apply(lambda row: row["request"]).to_topic(
        asked, key=lambda request: request["store_id"]
    )
    requests = app.dataframe(asked).apply(on_store, stateful=True, expand=True)
    requests.to_topic(sink(app, REORDER_REQUESTS), key=lambda request: request["request_id"])
