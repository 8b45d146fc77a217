"""The reducer of a store: its card purchases and the delayed labels on them in, alerts out. Key: ``store_id``."""

from __future__ import annotations

from decimal import Decimal

from retail_platform.reactions.events import Transaction
from retail_platform.reactions.fraud.alerts import Alert, Hit, alerts
from retail_platform.reactions.fraud.delayed import Counts, counted, judged, unpacked
from retail_platform.reactions.fraud.labels import Label
from retail_platform.reactions.fraud.parameters import DAY_SECONDS, DEFAULT, Parameters, StoreRisk
from retail_platform.reactions.fraud.rules import Evidence
from retail_platform.reactions.fraud.state import SECOND
from retail_platform.reactions.outputs import micros

__all__ = ["RULE", "Counts", "learn", "step", "unpacked"]

RULE = "store_risk"
_RULE_VERSION = "1"
_DAY = DAY_SECONDS * SECOND


def step(counts: Counts, event: Transaction, parameters: Parameters = DEFAULT) -> tuple[Counts, tuple[Alert, ...]]:
    """The store's counts with the sale, and an alert when the store is risky. Counts are by UTC day.

    The score of the alert is that of this rule alone: the card's rules run under another key. A return, an event without
    a card, and a duplicate of a remembered event change nothing and raise nothing.
    """
    if event.event_type != "sale" or event.card_token is None or event.event_id in counts.recent:
        return counts, ()
    rule = parameters.store_risk
    day = micros(event.event_time) // _DAY
    after = counted(counts, event.event_id, day, rule.delay_days + rule.window_days, rule.remembered)
    evidence = _risk(counts, day, rule)
    hits = () if evidence is None else (Hit(RULE, _RULE_VERSION, rule.probability, rule.shadow, evidence),)
    return after, alerts(event, event.card_token, hits, parameters)


def learn(counts: Counts, label: Label, parameters: Parameters = DEFAULT) -> Counts:
    """The store's counts with a verdict on one of its purchases."""
    return judged(
        counts,
        label.event_id,
        label.transaction_event_id,
        micros(label.transaction_time) // _DAY,
        fraud=label.verdict == "confirmed",
        remembered=parameters.store_risk.remembered,
    )


def _risk(counts: Counts, day: int, rule: StoreRisk) -> Evidence | None:
    until = day - rule.delay_days
    purchases, confirmed = counts.within(until - rule.window_days, until)
    share = (confirmed + rule.prior_share * rule.prior_purchases) / Decimal(purchases + rule.prior_purchases)
    if confirmed < rule.confirmed or share < rule.share:
        return None
    return {
        "purchases": purchases,
        "confirmed": confirmed,
        "smoothed_share": str(round(share, 4)),
        "threshold_share": str(rule.share),
        "threshold_confirmed": rule.confirmed,
        "window_days": rule.window_days,
        "delay_days": rule.delay_days,
    }
