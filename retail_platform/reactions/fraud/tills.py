"""The reducer of a till: card purchases and the delayed labels on them in, alerts of the trained model out.

Key: the store, and in its state :func:`till`. What the model reads of a card is counted under the card's key and comes along
with the purchase (:func:`of_card`); what it reads of a till is counted here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from retail_platform.reactions.events import Transaction
from retail_platform.reactions.fraud import labels, purchases
from retail_platform.reactions.fraud.alerts import Alert, Hit, alerts
from retail_platform.reactions.fraud.delayed import Counts, unpacked
from retail_platform.reactions.fraud.features import (
    CustomerState,
    Sale,
    cents,
    customer_step,
    extended,
    terminal_learn,
    terminal_step,
    unpacked_customer,
    vector,
)
from retail_platform.reactions.fraud.labels import Label
from retail_platform.reactions.fraud.model import Model
from retail_platform.reactions.fraud.parameters import DEFAULT, Parameters
from retail_platform.reactions.fraud.purchases import CardPurchase
from retail_platform.reactions.fraud.rules import Evidence
from retail_platform.reactions.fraud.state import SECOND
from retail_platform.reactions.outputs import micros

__all__ = [
    "RULE", "Counts", "CustomerState", "TillPurchase", "features", "from_transaction", "key_of", "of_card", "step", "till",
    "unpacked", "unpacked_customer", "unpacked_event",
]  # fmt: skip

RULE = "model"
_RULE_VERSION = "1"
_FOUR_PLACES = Decimal("0.0001")
_ROUNDED = 4


@dataclass(frozen=True, slots=True)
class TillPurchase:
    """A purchase with a card, with what a model reads of it.

    ``register_id``: the till within the store. ``cents`` of a US dollar, whole; ``None`` where no exchange rate was known: a
    model reads amounts, so such a purchase it neither counts nor scores. ``card``: the card's six features, this purchase
    included, as :func:`~retail_platform.reactions.fraud.features.customer_step` counts them; none until then.
    """

    purchase: CardPurchase
    register_id: str | None
    cents: int | None
    card: tuple[float, ...] = ()

    @property
    def till(self) -> str:
        """The key of its till."""
        return till(self.purchase.store_id, self.register_id)

    @property
    def sale(self) -> Sale | None:
        """What the features see of it; ``None`` without an amount in US dollars."""
        if self.cents is None:
            return None
        return Sale(self.purchase.event_id, micros(self.purchase.event_time) // SECOND, self.cents)

    def packed(self) -> dict[str, Any]:
        """As JSON, for the way to its store's partition."""
        return {
            "purchase": self.purchase.packed(),
            "register_id": self.register_id,
            "cents": self.cents,
            "card": list(self.card),
        }


def unpacked_event(packed: Mapping[str, Any]) -> TillPurchase | Label:
    """A purchase as :meth:`TillPurchase.packed` wrote it, or a valid event of ``fraud-labels``."""
    if "verdict" in packed:
        return labels.from_message(packed)
    purchase = purchases.unpacked(packed["purchase"])
    return TillPurchase(purchase, packed["register_id"], packed["cents"], tuple(packed["card"]))


def key_of(event: TillPurchase | Label) -> str:
    """The key of the till that a purchase or a verdict belongs to."""
    return event.till if isinstance(event, TillPurchase) else till(event.store_id, event.register_id)


def till(store_id: str, register_id: str | None) -> str:
    """The key of a till; a store's sales without a register are of one till."""
    return f"{store_id}:{register_id or ''}"


def from_transaction(event: Transaction, amount_usd: Decimal | None) -> TillPurchase | None:
    """A transaction as its store and its till are told of it; ``None`` for a return, and without a card."""
    purchase = purchases.from_transaction(event)
    if purchase is None:
        return None
    return TillPurchase(purchase, event.register_id, None if amount_usd is None else cents(amount_usd))


def of_card(state: CustomerState, bought: TillPurchase) -> tuple[CustomerState, TillPurchase | None]:
    """The card's state with the purchase, and the purchase with the card's features; none for a remembered one.

    Without an amount the purchase goes on as it is, without features.
    """
    if bought.sale is None:
        return state, bought
    after, found = customer_step(state, bought.sale)
    return after, replace(bought, card=found) if found else None


def features(counts: Counts, event: TillPurchase | Label) -> tuple[Counts, tuple[float, ...]]:
    """The till's counts with the purchase or the verdict; for a purchase, what a model reads of it.

    The features are those of :data:`~retail_platform.reactions.fraud.features.MODEL_NAMES`; none for a duplicate of a
    remembered event, and without an amount.
    """
    if isinstance(event, Label):
        return terminal_learn(counts, event), ()
    new = event.sale
    if new is None:
        return counts, ()
    after, of_till = terminal_step(counts, new)
    return after, extended(vector(new, event.card, of_till)) if of_till else ()


def step(
    counts: Counts, event: TillPurchase | Label, model: Model | None, parameters: Parameters = DEFAULT
) -> tuple[Counts, tuple[Alert, ...]]:
    """The till's counts with the purchase or the verdict; for a purchase an alert, when the model finds it suspicious.

    Without a model there is none. The score of the alert is that of this rule alone: the card's rules run under another key.
    """
    after, found = features(counts, event)
    if isinstance(event, Label) or model is None or not found:
        return after, ()
    score = model.score(found)
    if score < model.threshold:
        return after, ()
    rule = parameters.model
    probability = Decimal(score).quantize(_FOUR_PLACES, ROUND_HALF_UP)
    hit = Hit(RULE, _RULE_VERSION, probability, rule.shadow, _evidence(model, found, score, rule.features_told))
    return after, alerts(event.purchase, [hit], replace(parameters, version=model.version))


def _evidence(model: Model, found: tuple[float, ...], score: float, told: int) -> Evidence:
    moved = model.contributions(found)
    most = sorted(moved, key=lambda name: (-abs(moved[name]), name))[:told]
    values = dict(zip(model.features, found, strict=True))
    return {
        "score": score,
        "threshold_score": model.threshold,
        "model": model.version,
        "features": {
            name: {"value": round(values[name], _ROUNDED), "moved_score": round(moved[name], _ROUNDED)} for name in most
        },
    }
