"""The reducer of a store: its card purchases and the delayed labels on them in, alerts out. Key: ``store_id``."""

from __future__ import annotations

from decimal import Decimal

from retail_platform.reactions.fraud.alerts import Alert, Hit, alerts
from retail_platform.reactions.fraud.delayed import Counts, counted, judged, unpacked
from retail_platform.reactions.fraud.labels import Label
from retail_platform.reactions.fraud.parameters import DAY_SECONDS, DEFAULT, Parameters, StoreRisk
from retail_platform.reactions.fraud.purchases import CardPurchase
from retail_platform.reactions.fraud.rules import Evidence
from retail_platform.reactions.fraud.state import SECOND
from retail_platform.reactions.outputs import micros

__all__ = ["RULE", "Counts", "step", "unpacked"]

RULE = "store_risk"
_RULE_VERSION = "1"
_DAY = DAY_SECONDS * SECOND


def step(
    counts: Counts, event: CardPurchase | Label, parameters: Parameters = DEFAULT
) -> tuple[Counts, tuple[Alert, ...]]:
    """The store's counts with the purchase or the verdict; for a purchase an alert, when the store is risky.

    Counts are by UTC day. The score of the alert is that of this rule alone: the card's rules run under another key. A
    duplicate of a remembered event changes nothing and raises nothing.
    """
    rule = parameters.store_risk
    if isinstance(event, Label):
        return _learned(counts, event, rule), ()
    if event.event_id in counts.recent:
        return counts, ()
    day = micros(event.event_time) // _DAY
    evidence = _risk(counts, day, rule)
    hits = () if evidence is None else (Hit(RULE, _RULE_VERSION, rule.probability, rule.shadow, evidence),)
    after = counted(counts, event.event_id, day, _kept(rule), rule.remembered)
    return after, alerts(event, hits, parameters)


def _learned(counts: Counts, label: Label, rule: StoreRisk) -> Counts:
    return judged(
        counts,
        label.event_id,
        label.transaction_event_id,
        micros(label.transaction_time) // _DAY,
        fraud=label.verdict == "confirmed",
        kept=_kept(rule),
        remembered=rule.remembered,
    )


def _kept(rule: StoreRisk) -> int:
    return rule.delay_days + rule.window_days


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
