"""A card purchase on its way from its card to its till, as the trained model is given it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from retail_platform.reactions.events import Transaction
from retail_platform.reactions.fraud.features import Sale, cents
from retail_platform.reactions.fraud.state import SECOND
from retail_platform.reactions.outputs import from_micros, micros


@dataclass(frozen=True, slots=True)
class CardPurchase:
    """What alerts tell of a purchase, and what a model reads of its card.

    ``event_time`` in UTC with its zone. ``cents`` of a US dollar, whole. ``card``: the card's six features, this purchase
    included, as :func:`~retail_platform.reactions.fraud.features.customer_step` counts them; none until they are counted.
    """

    event_id: str
    event_time: dt.datetime
    transaction_id: str
    store_id: str
    register_id: str | None
    card_token: str
    cents: int
    card: tuple[float, ...] = ()

    @property
    def sale(self) -> Sale:
        """What the features see of it."""
        return Sale(self.event_id, micros(self.event_time) // SECOND, self.cents)

    def packed(self) -> dict[str, Any]:
        """The purchase as JSON: its fields, the time in microseconds."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        return fields | {"event_time": micros(self.event_time), "card": list(self.card)}


def unpacked_purchase(packed: Mapping[str, Any]) -> CardPurchase:
    """The purchase from its JSON."""
    return CardPurchase(
        **{**packed, "event_time": from_micros(packed["event_time"]), "card": tuple(packed["card"])},
    )


def till(store_id: str, register_id: str | None) -> str:
    """The key of a till; a store's sales without a register are of one till."""
    return f"{store_id}:{register_id or ''}"


def purchase(event: Transaction, amount_usd: Decimal | None) -> CardPurchase | None:
    """The purchase of a sale with a card; ``None`` for a return, without a card, and without an amount in US dollars.

    A model reads amounts: what has none is neither counted nor scored.
    """
    if event.event_type != "sale" or event.card_token is None or amount_usd is None:
        return None
    return CardPurchase(
        event.event_id,
        event.event_time,
        event.transaction_id,
        event.store_id,
        event.register_id,
        event.card_token,
        cents(amount_usd),
    )
