"""What flows where: the branches of the application. What is decided, is decided in the rules."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

from quixstreams import Application, State
from quixstreams.dataframe import StreamingDataFrame
from quixstreams.models import Topic

from retail_platform.contracts.inventory import INVENTORY
from retail_platform.contracts.judge import judge
from retail_platform.contracts.model import TopicContract
from retail_platform.contracts.reactions import (
    CUSTOMER_REFRESHES,
    CUSTOMER_SEGMENTS,
    FRAUD_ALERTS,
    FRAUD_LABELS,
    LIVE_METRICS,
    PRICE_REVIEWS,
    PRICE_ROLLBACKS,
    PRICE_UPDATES,
    REORDER_RELEASES,
    REORDER_REQUESTS,
    STOCK_LEVELS,
)
from retail_platform.contracts.transactions import TRANSACTIONS
from retail_platform.reactions.applications import MARKETING, METRICS, ReactionApplication
from retail_platform.reactions.by_product import read_file
from retail_platform.reactions.events import movement, transaction
from retail_platform.reactions.fraud import cards, purchases, stores, tills
from retail_platform.reactions.fraud.alerts import Alert
from retail_platform.reactions.fraud.features import unpacked_customer
from retail_platform.reactions.fraud.labels import Label
from retail_platform.reactions.fraud.published import Published as PublishedModel
from retail_platform.reactions.fraud.state import unpacked as unpacked_card
from retail_platform.reactions.metrics import cells, duplicates
from retail_platform.reactions.metrics.rates import Money, Rates
from retail_platform.reactions.prices import live
from retail_platform.reactions.prices import rule as pricing
from retail_platform.reactions.prices import terms as price_terms
from retail_platform.reactions.prices.guardrails import Guardrails
from retail_platform.reactions.segments import customers
from retail_platform.reactions.segments.published import Published
from retail_platform.reactions.stock import daily_limit, levels, reorder
from retail_platform.reactions.stock import terms as supplier_terms
from retail_platform.reactions.wiring.application import Sent, between, send, send_at_commit, sink, source
from retail_platform.settings import Settings

#: A JSON object on its way.
Json = dict[str, Any]
Store = State[str, Any]

# Live metrics are of this time past; what comes later is for the marts. Their state is kept a little longer, so that no cell
# begins again at nothing, and no copy of an event counts a second time.
_LIVE_FOR = dt.timedelta(days=31)
_KEPT_FOR = _LIVE_FOR + dt.timedelta(days=4)
# Cards come and go: of one that is not seen for longer than any rule looks back nothing is kept.
_FORGOTTEN_AFTER = dt.timedelta(days=400)


def wire(app: Application, which: ReactionApplication, settings: Settings, rates: Rates) -> None:
    """Connect the branches of an application; ``app.run()`` then runs them."""
    sales = _valid(app, TRANSACTIONS.named(settings.kafka_topic), settings)
    money = Money(rates, ZoneInfo(settings.business_timezone))
    if which is METRICS:
        _metrics(app, sales, money, settings)
    elif which is MARKETING:
        _segments_and_prices(app, sales, money, settings)
    else:
        _fraud_and_stock(app, sales, money, settings)


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


def _fraud_and_stock(app: Application, sales: StreamingDataFrame, money: Money, settings: Settings) -> None:
    """A sale to its card, and the stock that it takes to that stock's key; then each on its own."""
    by_card, changes = (between(app, settings, name) for name in ("fraud-by-card", "stock-changes"))

    def parted(event: Json) -> list[Sent]:
        found = transaction(event)
        changed = [Sent(changes, one.key, one.packed()) for one in levels.from_transaction(found)]
        bought = purchases.from_transaction(found)
        return changed if bought is None else [Sent(by_card, bought.card_token, event), *changed]

    send(sales.apply(parted, expand=True))
    _fraud(app, by_card, money, settings)
    _stock(app, changes, settings)


def _fraud(app: Application, by_card: Topic, money: Money, settings: Settings) -> None:
    """By card its purchases in; by store, and there by till, its card purchases and the verdicts in; alerts out of each."""
    published = PublishedModel(settings.fraud_models_dir)
    by_store, out = between(app, settings, "fraud-by-store"), sink(app, FRAUD_ALERTS)

    def told(alerts: Iterable[Alert]) -> list[Sent]:
        return [Sent(out, alert.card_token, alert.message()) for alert in alerts]

    def on_card(event: Json, state: Store) -> list[Sent]:
        """The alerts of the card's rules; and the purchase with the card's features, on its way to its store."""
        purchase = transaction(event)
        amount_usd = money.usd(purchase)
        known = state.get("card") or {}
        purchases_before = unpacked_card(known.get("purchases"))
        purchases_after, alerts = cards.step(purchases_before, purchase, amount_usd)
        features, bought = unpacked_customer(known.get("features")), tills.from_transaction(purchase, amount_usd)
        if bought is not None:
            features, bought = tills.of_card(features, bought)
        if bought is not None or purchases_after is not purchases_before:
            known = {"purchases": purchases_after.packed(), "features": features.packed()}
            state.set("card", known, ttl=_FORGOTTEN_AFTER)
        going = [] if bought is None else [Sent(by_store, bought.purchase.store_id, bought.packed())]
        return [*told(alerts), *going]

    def on_store(packed: Json, state: Store) -> list[Sent]:
        """The alerts of the store's risk, and those of the model at the store's till."""
        event = tills.unpacked_event(packed)
        purchase = event if isinstance(event, Label) else event.purchase
        store, risky = stores.step(stores.unpacked(state.get("store")), purchase)
        state.set("store", store.packed())
        key = f"till:{tills.key_of(event)}"
        till, suspicious = tills.step(tills.unpacked(state.get(key)), event, published.model())
        state.set(key, till.packed())
        return told((*risky, *suspicious))

    labels = _valid(app, FRAUD_LABELS, settings)
    send(labels.apply(lambda label: Sent(by_store, label["store_id"], label)))
    send(app.dataframe(by_card).apply(on_card, stateful=True, expand=True))
    send(app.dataframe(by_store).apply(on_store, stateful=True, expand=True))


def _metrics(app: Application, sales: StreamingDataFrame, money: Money, settings: Settings) -> None:
    """By transaction, so that each event counts once; then by slice (all, a store, …): what it adds in, new values out.

    A sale touches some fifteen cells, and the next one mostly the same. So what the events between two commits add is put
    together before it goes on, and a cell says its new value once for all of them.
    """
    by_slice, out = between(app, settings, "metrics-by-slice"), sink(app, LIVE_METRICS)

    def first_time(
        event: Json, _key: object, timestamp: int, _headers: object, state: Store
    ) -> list[cells.Contribution]:
        found = transaction(event)
        if _appended(timestamp) - found.event_time > _LIVE_FOR:
            return []
        before = duplicates.unpacked(state.get(found.transaction_id))
        after, new = duplicates.step(before, found)
        if after is not before:
            state.set(found.transaction_id, after.packed(), ttl=_KEPT_FOR)
        return [one for sale in new for one in cells.contributions(sale, money.rate(sale), money.timezone)]

    def together(added: Iterable[cells.Contribution]) -> Iterator[Sent]:
        slices: defaultdict[str, list[Json]] = defaultdict(list)
        for minute in cells.combined(added):
            slices[minute.cell.slice].append(minute.packed())
        return (Sent(by_slice, name, {"minutes": minutes}) for name, minutes in slices.items())

    def on_slice(packed: Json, state: Store) -> list[Sent]:
        minutes = (cells.unpacked_contribution(minute) for minute in packed["minutes"])
        told = []
        for added in cells.combined(one for minute in minutes for one in cells.rolled_up(minute, money.timezone)):
            after, metrics = cells.step(cells.unpacked(state.get(added.cell.key)), added)
            state.set(added.cell.key, after.packed(), ttl=_KEPT_FOR)
            told += [Sent(out, metric.cell.key, metric.message()) for metric in metrics]
        return told

    send_at_commit(sales.apply(first_time, stateful=True, expand=True, metadata=True), together)
    send(app.dataframe(by_slice).apply(on_slice, stateful=True, expand=True))


def _segments_and_prices(app: Application, sales: StreamingDataFrame, money: Money, settings: Settings) -> None:
    """A sale to its customer, and what it sold to each product that has terms; then each on its own."""
    terms = read_file(settings.price_terms_file, "PRICE_TERMS_FILE", price_terms.read_terms)
    customer_changes, price_changes = (between(app, settings, name) for name in ("customer-changes", "price-changes"))

    def parted(event: Json, _key: object, timestamp: int, _headers: object) -> list[Sent]:
        bought = transaction(event)
        rate = money.rate(bought)
        purchase = customers.from_transaction(bought, rate)
        of_customer = [] if purchase is None else [Sent(customer_changes, purchase.customer_id, purchase.packed())]
        sold = (one for one in pricing.from_transaction(bought, rate) if one.product_id in terms)
        changed = (live.from_sold(one, _appended(timestamp)) for one in sold)
        return [*of_customer, *(Sent(price_changes, one.product_id, one.packed()) for one in changed)]

    send(sales.apply(parted, expand=True, metadata=True))
    _segments(app, customer_changes, settings)
    _prices(app, price_changes, terms, settings)


def _segments(app: Application, changes: Topic, settings: Settings) -> None:
    """By customer: purchases and midnights in, changes of segment out."""
    parameters = replace(customers.DEFAULT, timezone=settings.business_timezone)
    published = Published(settings.marts_dir)
    out = sink(app, CUSTOMER_SEGMENTS)

    def refreshed(event: Json) -> Sent:
        found = customers.from_message(event)
        return Sent(changes, found.customer_id, found.packed())

    def on_customer(packed: Json, state: Store) -> list[Sent]:
        before = customers.unpacked(state.get("customer"))
        after, found = customers.step(before, customers.unpacked_event(packed), published.cutoffs(), parameters)
        if after != before:
            state.set("customer", after.packed())
        return [Sent(out, change.customer_id, change.message()) for change in found]

    send(_valid(app, CUSTOMER_REFRESHES, settings).apply(refreshed))
    send(app.dataframe(changes).apply(on_customer, stateful=True, expand=True))


def _prices(app: Application, changes: Topic, terms: Mapping[str, price_terms.Listed], settings: Settings) -> None:
    """By product that has terms: sales, stock levels, reviews and rollbacks in, decisions on its price out."""
    advises = replace(
        pricing.DEFAULT,
        guardrails=Guardrails(emergency=settings.prices_emergency),
        timezone=settings.business_timezone,
    )
    applies = replace(advises, applies=settings.prices == "apply")
    out = sink(app, PRICE_UPDATES)

    def changed_by(read: Callable[[Json, dt.datetime], live.Happened]) -> Callable[..., list[Sent]]:
        def changed(event: Json, _key: object, timestamp: int, _headers: object) -> list[Sent]:
            if event["product_id"] not in terms:
                return []
            return [Sent(changes, event["product_id"], read(event, _appended(timestamp)).packed())]

        return changed

    def on_product(packed: Json, state: Store) -> list[Sent]:
        event, before = live.unpacked_event(packed), live.unpacked(state.get("price"))
        listed = terms.get(event.product_id)
        if listed is None:  # its terms were taken out while the record was on its way
            return []
        parameters = applies if listed.applies else advises
        after, updates = live.step(before, event, listed.terms, parameters, reviews=settings.prices != "off")
        if after != before:
            state.set("price", after.packed())
        return [Sent(out, update.product_id, update.message()) for update in updates]

    told = (
        (STOCK_LEVELS, live.from_level),
        (PRICE_REVIEWS, live.from_review),
        (PRICE_ROLLBACKS, live.from_rollback),
    )
    for contract, read in told:
        send(_valid(app, contract, settings).apply(changed_by(read), expand=True, metadata=True))
    send(app.dataframe(changes).apply(on_product, stateful=True, expand=True))


def _stock(app: Application, changes: Topic, settings: Settings) -> None:
    """By store and product: sales and movements in, the stock out, and what is to be ordered on its way to its store."""
    policy_of = supplier_terms.policies(settings)
    asked = between(app, settings, "requests-by-store")
    stock = sink(app, STOCK_LEVELS)

    def moved(event: Json) -> Sent:
        change = levels.from_movement(movement(event))
        return Sent(changes, change.key, change.packed())

    def on_stock(packed: Json, state: Store) -> list[Sent]:
        known = state.get("stock") or {}
        before = levels.unpacked(known.get("level"))
        after, found = levels.step(before, levels.unpacked_event(packed))
        needs, told = reorder.unpacked(known.get("reorder")), []
        for level in found:
            message = level.message()
            told.append(Sent(stock, message["stock_key"], message))
            needs, wanted = reorder.step(needs, level, policy_of(level.product_id))
            told += [Sent(asked, request.store_id, request.packed()) for request in wanted]
        if after is not before:
            state.set("stock", {"level": after.packed(), "reorder": needs.packed()})
        return told

    send(_valid(app, INVENTORY, settings).apply(moved))
    send(app.dataframe(changes).apply(on_stock, stateful=True, expand=True))
    _orders(app, asked, settings)


def _orders(app: Application, asked: Topic, settings: Settings) -> None:
    """By store: requests in, and releases; out the requests within the store's daily limit, and what is held or released."""
    limit = daily_limit.Parameters(settings.reorder_daily_limit, settings.business_timezone)
    orders = sink(app, REORDER_REQUESTS)

    def released(event: Json) -> Sent:
        release = daily_limit.from_release(event)
        return Sent(asked, release.store_id, release.packed())

    def on_store(packed: Json, state: Store) -> list[Sent]:
        event = daily_limit.unpacked_event(packed)
        # Under a key of its own: together with the others it would be written anew at every request.
        last_held = f"held:{event.product_id}"
        if isinstance(event, daily_limit.Release):
            found = daily_limit.released(state.get(last_held), event)
            if found:
                state.delete(last_held)
        else:
            before = daily_limit.unpacked(state.get("limit"))
            after, found = daily_limit.step(before, event, limit)
            if after is not before:
                state.set("limit", after.packed())
            for request in found:
                if request.status == "held":
                    state.set(last_held, request.packed())
        return [Sent(orders, request.request_id, request.message()) for request in found]

    send(_valid(app, REORDER_RELEASES, settings).apply(released))
    send(app.dataframe(asked).apply(on_store, stateful=True, expand=True))
