"""What the reactions had to say, by the same pure rules, run over what Kafka holds.

What a rule says follows from the order in which its events come, and Kafka knows that order: in the topics between two
steps the events of a key stand as the next step had them. So each step is run again over its own topic, record by record,
and of the step before it is asked what it had to send there.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any
from zoneinfo import ZoneInfo

from retail_platform.contracts import (
    CUSTOMER_SEGMENTS,
    FRAUD_ALERTS,
    INVENTORY,
    PRICE_UPDATES,
    REORDER_REQUESTS,
    STOCK_LEVELS,
    TRANSACTIONS,
)
from retail_platform.contracts.judge import judge
from retail_platform.contracts.model import TopicContract
from retail_platform.reactions import batch
from retail_platform.reactions.applications import step_topic
from retail_platform.reactions.by_product import read_file
from retail_platform.reactions.events import Transaction, movement, transaction
from retail_platform.reactions.fraud import purchases, tills
from retail_platform.reactions.fraud.labels import Label
from retail_platform.reactions.metrics.rates import Money, read_rates
from retail_platform.reactions.prices import live
from retail_platform.reactions.prices import rule as pricing
from retail_platform.reactions.prices.terms import Listed, read_terms
from retail_platform.reactions.segments import customers, published
from retail_platform.reactions.stock import daily_limit, levels, reorder
from retail_platform.reactions.stock.terms import policies
from retail_platform.settings import FX_RATES, Settings

Json = dict[str, Any]
#: The records of a topic, partition by partition, each in its order: the value, and when it was appended (ms since 1970).
Records = Callable[[str], Iterable[tuple[bytes, int]]]

#: The topics whose every record is recomputed; live metrics depend on no order, and are summed elsewhere.
TOPICS = (FRAUD_ALERTS, STOCK_LEVELS, REORDER_REQUESTS, CUSTOMER_SEGMENTS, PRICE_UPDATES)
STEPS = ("fraud-by-card", "stock-changes", "fraud-by-store", "requests-by-store", "customer-changes", "price-changes")


@dataclass(frozen=True)
class Recomputed:
    """What had to be said, from ``records`` of Kafka and under the ``settings`` that the applications had.

    Of verdicts, midnights, reviews, rollbacks and releases nothing is recomputed: nobody sends them in a chaos run.
    """

    settings: Settings
    records: Records

    def messages(self) -> Iterator[tuple[str, Json]]:
        """Each message of :data:`TOPICS` and :data:`STEPS`, with its topic, as often as it must be there.

        None comes before what it follows from, so ``records`` may be of a Kafka that fills meanwhile.
        """
        for topic, messages in (
            (self._step("fraud-by-card"), self._to_cards()),
            (self._step("fraud-by-store"), self._to_stores()),
            (FRAUD_ALERTS.topic, self._alerts()),
            (self._step("stock-changes"), (one.packed() for one in self._to_stocks())),
            (STOCK_LEVELS.topic, (one.message() for one in self._levels())),
            (
                self._step("requests-by-store"),
                (one.packed() for one in batch.needs(self._levels(), policies(self.settings))),
            ),
            (REORDER_REQUESTS.topic, self._requests()),
            (self._step("customer-changes"), (one.packed() for one in self._to_customers())),
            (CUSTOMER_SEGMENTS.topic, self._segments()),
            (self._step("price-changes"), (one.packed() for one in self._to_prices())),
            (PRICE_UPDATES.topic, self._prices()),
        ):
            yield from ((topic, message) for message in messages)

    # --- What each step sends to the next ---------------------------------------------------------------------------

    def _to_cards(self) -> Iterator[Json]:
        for event, _ in self._valid(TRANSACTIONS.named(self.settings.kafka_topic)):
            if purchases.from_transaction(transaction(event)) is not None:
                yield event

    def _to_stores(self) -> Iterator[Json]:
        for bought in batch.to_stores(self._on_cards(), self._money):
            if isinstance(bought, tills.TillPurchase):
                yield bought.packed()

    def _to_stocks(self) -> Iterator[levels.StockEvent]:
        for event, _ in self._valid(INVENTORY):
            yield levels.from_movement(movement(event))
        for sale, _ in self._sales():
            yield from levels.from_transaction(sale)

    def _to_customers(self) -> Iterator[customers.Purchase]:
        for sale, _ in self._sales():
            bought = customers.from_transaction(sale, self._money.rate(sale))
            if bought is not None:
                yield bought

    def _to_prices(self) -> Iterator[live.Happened]:
        for sale, at in self._sales():
            for sold in pricing.from_transaction(sale, self._money.rate(sale)):
                if sold.product_id in self._terms:
                    yield live.from_sold(sold, at)
        for event, at in self._valid(STOCK_LEVELS):
            if event["product_id"] in self._terms:
                yield live.from_level(event, at)

    # --- What each step says of what it was sent --------------------------------------------------------------------

    def _on_cards(self) -> Iterator[Transaction]:
        yield from (transaction(event) for event in self._sent("fraud-by-card"))

    def _on_stores(self) -> Iterator[tills.TillPurchase | Label]:
        yield from (tills.unpacked_event(event) for event in self._sent("fraud-by-store"))

    def _alerts(self) -> Iterator[Json]:
        for alerts in (batch.card_alerts(self._on_cards(), self._money), batch.store_alerts(self._on_stores())):
            yield from (alert.message() for alert in alerts)

    def _levels(self) -> Iterator[levels.StockLevel]:
        yield from batch.stock_levels(levels.unpacked_event(event) for event in self._sent("stock-changes"))

    def _requests(self) -> Iterator[Json]:
        wanted = (reorder.unpacked_request(event) for event in self._sent("requests-by-store"))
        limit = daily_limit.Parameters(self.settings.reorder_daily_limit, self.settings.business_timezone)
        yield from (request.message() for request in batch.reorder_requests(wanted, limit))

    def _segments(self) -> Iterator[Json]:
        cutoffs = published.Published(self.settings.marts_dir).cutoffs()
        events = (customers.unpacked_event(event) for event in self._sent("customer-changes"))
        parameters = replace(customers.DEFAULT, timezone=self.settings.business_timezone)
        yield from (change.message() for change in batch.segment_changes(events, cutoffs, parameters))

    def _prices(self) -> Iterator[Json]:
        events = (live.unpacked_event(event) for event in self._sent("price-changes"))
        parameters = replace(pricing.DEFAULT, timezone=self.settings.business_timezone)
        yield from (update.message() for update in batch.price_updates(events, self._terms, parameters))

    # --- From Kafka -------------------------------------------------------------------------------------------------

    def _sales(self) -> Iterator[tuple[Transaction, dt.datetime]]:
        for event, at in self._valid(TRANSACTIONS.named(self.settings.kafka_topic)):
            yield transaction(event), at

    def _valid(self, contract: TopicContract) -> Iterator[tuple[Json, dt.datetime]]:
        for value, appended in self.records(contract.topic):
            at = dt.datetime.fromtimestamp(appended / 1000, dt.UTC)
            zone, first = self.settings.business_timezone, self.settings.partitions_start_date
            event = judge(contract, value, at, zone, first).event
            if event is not None:
                yield event, at

    def _sent(self, step: str) -> Iterator[Json]:
        yield from (json.loads(value) for value, _ in self.records(self._step(step)))

    def _step(self, step: str) -> str:
        return step_topic(self.settings, step)

    @cached_property
    def _money(self) -> Money:
        with FX_RATES.open(encoding="utf-8") as lines:
            return Money(read_rates(lines), ZoneInfo(self.settings.business_timezone))

    @cached_property
    def _terms(self) -> dict[str, Listed]:
        return read_file(self.settings.price_terms_file, "PRICE_TERMS_FILE", read_terms)
