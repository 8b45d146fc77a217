"""The reducer of a till: card purchases and the delayed labels on them in, alerts of the trained model out.

Key: :func:`~retail_platform.reactions.fraud.purchases.till`. What the model reads of a card is counted under the card's key
and comes along with the purchase (:func:`of_card`); what it reads of a till is counted here.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import ROUND_HALF_UP, Decimal

from retail_platform.reactions.fraud.alerts import Alert, Hit, alerts
from retail_platform.reactions.fraud.delayed import Counts, unpacked
from retail_platform.reactions.fraud.features import (
    CustomerState,
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

__all__ = [
    "RULE", "Counts", "CustomerState", "features", "learn", "of_card", "step", "unpacked", "unpacked_customer",
]  # fmt: skip

RULE = "model"
_RULE_VERSION = "1"
_FOUR_PLACES = Decimal("0.0001")
_ROUNDED = 4


def of_card(state: CustomerState, bought: CardPurchase) -> tuple[CustomerState, CardPurchase | None]:
    """The card's state with the purchase, and the purchase with the card's features; none for a remembered one."""
    after, found = customer_step(state, bought.sale)
    return after, replace(bought, card=found) if found else None


def features(counts: Counts, bought: CardPurchase) -> tuple[Counts, tuple[float, ...]]:
    """The till's counts with the purchase, and what a model reads of it; nothing for a duplicate of a remembered event.

    The features are those of :data:`~retail_platform.reactions.fraud.features.MODEL_NAMES`.
    """
    new = bought.sale
    after, of_till = terminal_step(counts, new)
    return after, extended(vector(new, bought.card, of_till)) if of_till else ()


def learn(counts: Counts, label: Label) -> Counts:
    """The till's counts with a verdict on one of its purchases."""
    return terminal_learn(counts, label)


def step(
    counts: Counts, bought: CardPurchase, model: Model | None, parameters: Parameters = DEFAULT
) -> tuple[Counts, tuple[Alert, ...]]:
    """The till's counts with the purchase, and an alert when the model finds it suspicious; without a model, none.

    The score of the alert is that of this rule alone: the card's rules run under another key.
    """
    after, found = features(counts, bought)
    if model is None or not found:
        return after, ()
    score = model.score(found)
    if score < model.threshold:
        return after, ()
    rule = parameters.model
    probability = Decimal(score).quantize(_FOUR_PLACES, ROUND_HALF_UP)
    hit = Hit(RULE, _RULE_VERSION, probability, rule.shadow, _evidence(model, found, score, rule.features_told))
    return after, alerts(bought, bought.card_token, [hit], replace(parameters, version=model.version))


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
