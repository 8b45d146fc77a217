"""The reducer of a card: its purchases in, alerts out. Key: ``card_token``."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from retail_platform.reactions.events import Transaction
from retail_platform.reactions.fraud import purchases, rules
from retail_platform.reactions.fraud.alerts import Alert, Hit, alerts
from retail_platform.reactions.fraud.parameters import DEFAULT, Parameters
from retail_platform.reactions.fraud.state import Purchase, State, purchase

#: Each rule with the version of its code; its parameters are the field of the same name.
_RULES: tuple[tuple[str, str, Any], ...] = (
    ("velocity_1h", "1", rules.velocity),
    ("velocity_24h", "1", rules.velocity),
    ("card_testing", "1", rules.card_testing),
    ("impossible_travel", "1", rules.impossible_travel),
    ("unusual_amount", "1", rules.unusual_amount),
    ("first_seen_store", "1", rules.first_seen_store),
    ("first_seen_device", "1", rules.first_seen_device),
)

#: The names of the card rules, as alerts tell them.
RULES = tuple(name for name, _, _ in _RULES)


def step(
    state: State, event: Transaction, amount_usd: Decimal | None, parameters: Parameters = DEFAULT
) -> tuple[State, tuple[Alert, ...]]:
    """The card's state after the event, and the alerts of the rules that it hits.

    ``amount_usd``: what was paid, in US dollars at the day's rate, ``None`` when there is no rate: then the rules of
    amounts are silent. A return, an event without a card, and a duplicate of a
    remembered event change nothing and raise nothing.
    """
    bought = purchases.from_transaction(event)
    if bought is None or state.knows(bought.event_id):
        return state, ()
    new = purchase(event, amount_usd)
    hits = tuple(_hits(state.purchases, new, parameters))
    kept = (*state.purchases, new)[-parameters.remembered :]
    return State(kept), alerts(bought, hits, parameters)


def _hits(history: tuple[Purchase, ...], new: Purchase, parameters: Parameters) -> Iterator[Hit]:
    for name, version, find in _RULES:
        chosen = getattr(parameters, name)
        evidence = find(history, new, chosen)
        if evidence is not None:
            yield Hit(name, version, chosen.probability, chosen.shadow, evidence)
