"""What flows where: the branches of the application."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

from quixstreams import Application, State
from quixstreams.dataframe import StreamingDataFrame

from retail_platform.contracts.judge import judge
from retail_platform.contracts.model import TopicContract
from retail_platform.contracts.reactions import FRAUD_ALERTS
from retail_platform.contracts.transactions import TRANSACTIONS
from retail_platform.reactions.events import transaction
from retail_platform.reactions.fraud import cards
from retail_platform.reactions.fraud.state import unpacked
from retail_platform.reactions.metrics.rates import Rates
from retail_platform.reactions.wiring.application import sink, source
from retail_platform.settings import Settings

Event = dict[str, Any]


def wire(app: Application, settings: Settings, rates: Rates) -> None:
    """Connect every branch; ``app.run()`` then runs them."""
    events = _valid(app, TRANSACTIONS.named(settings.kafka_topic), settings)
    _fraud(app, events, rates)


def _valid(app: Application, contract: TopicContract, settings: Settings) -> StreamingDataFrame:
    """The events that the contract accepts, as :class:`Judgement.event` holds them: what silver refuses, no rule sees."""

    def judged(value: bytes, _key: object, timestamp: int, _headers: object) -> Event | None:
        appended = dt.datetime.fromtimestamp(timestamp / 1000, dt.UTC)
        return judge(contract, value, appended, settings.business_timezone, settings.partitions_start_date).event

    return app.dataframe(source(app, contract)).apply(judged, metadata=True).filter(bool)


def _fraud(app: Application, events: StreamingDataFrame, rates: Rates) -> None:
    """By card: its purchases in, alerts out."""

    def on_card(event: Event, state: State) -> list[Event]:
        purchase = transaction(event)
        rate = rates.on(purchase.currency, purchase.event_time.date())
        before = unpacked(state.get("card"))
        # Without a rate the day's check fails by name; until somebody mends it, only the rules without amounts can hit.
        after, alerts = cards.step(before, purchase, purchase.amount * (rate or Decimal(0)))
        if after is not before:
            state.set("card", after.packed())
        return [alert.message() for alert in alerts]

    paid_by_card = events.filter(lambda event: bool(event["payment"]["card_token"]))
    by_card = paid_by_card.group_by(
        lambda event: event["payment"]["card_token"], name="card", key_serializer="str", key_deserializer="str"
    )
    alerts = by_card.apply(on_card, stateful=True, expand=True)
    alerts.to_topic(sink(app, FRAUD_ALERTS), key=lambda alert: alert["card_token"])
