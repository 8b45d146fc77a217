"""What goes out: one alert a rule and purchase (topic ``fraud-alerts``)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from retail_platform.reactions.fraud.parameters import Parameters
from retail_platform.reactions.fraud.purchases import CardPurchase
from retail_platform.reactions.fraud.rules import Evidence
from retail_platform.reactions.fraud.scoring import Severity, noisy_or, severity
from retail_platform.reactions.outputs import evidence, output_id, rfc3339

TOPIC = "fraud-alerts"


@dataclass(frozen=True, slots=True)
class Hit:
    """A rule found something in a purchase. ``rule_version`` is that of its code, ``probability`` its weight."""

    rule: str
    rule_version: str
    probability: Decimal
    shadow: bool
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class Alert:
    """A hit as it is sent.

    ``score`` and ``severity`` are the purchase's: the same on all alerts that one reducer raises for it.
    """

    event_time: dt.datetime
    transaction_event_id: str
    transaction_id: str
    card_token: str
    store_id: str
    hit: Hit
    parameter_version: str
    score: Decimal
    severity: Severity

    @property
    def alert_id(self) -> str:
        """UUID v5 of the rule and the transaction's event_id: the same however often the event is processed."""
        return alert_id(self.hit.rule, self.transaction_event_id)

    def message(self) -> dict[str, Any]:
        """The event.

        * ``event_id``: UUID, the alert's id: v5 of rule and transaction
        * ``event_time``: the purchase's, RFC 3339 in UTC with microseconds
        * ``transaction_event_id``: UUID, ``event_id`` of the purchase
        * ``transaction_id``: the retailer's number of the purchase
        * ``card_token``: the card's token
        * ``store_id``: the store that made the sale
        * ``rule``: velocity_1h | velocity_24h | card_testing | impossible_travel | unusual_amount | first_seen_store |
          first_seen_device | store_risk | model
        * ``rule_version``: version of the rule's code
        * ``parameter_version``: version of the thresholds; of the rule model, that of the model
        * ``score``: decimal text with four places, 0 to 1: noisy-or of the rules out of shadow that hit it, the
          card's together, store risk and model each by itself
        * ``severity``: low | medium | high, from the score
        * ``shadow``: yes | no; with yes the rule is on trial, the alert is to be measured and not acted on
        * ``evidence``: text, a JSON object: the inputs of the rule and the thresholds that they passed
        """
        return {
            "event_id": self.alert_id,
            "event_time": rfc3339(self.event_time),
            "transaction_event_id": self.transaction_event_id,
            "transaction_id": self.transaction_id,
            "card_token": self.card_token,
            "store_id": self.store_id,
            "rule": self.hit.rule,
            "rule_version": self.hit.rule_version,
            "parameter_version": self.parameter_version,
            "score": str(self.score),
            "severity": self.severity,
            "shadow": "yes" if self.hit.shadow else "no",
            "evidence": evidence(**self.hit.evidence),
        }


def alert_id(rule: str, transaction_event_id: str) -> str:
    """The id of the alert that this rule raises for this transaction."""
    return output_id(TOPIC, rule, transaction_event_id)


def alerts(purchase: CardPurchase, hits: Sequence[Hit], parameters: Parameters) -> tuple[Alert, ...]:
    """The alerts of the rules that hit one purchase, with the score that they make together."""
    score = noisy_or(hit.probability for hit in hits if not hit.shadow)
    return tuple(
        Alert(
            event_time=purchase.event_time,
            transaction_event_id=purchase.event_id,
            transaction_id=purchase.transaction_id,
            card_token=purchase.card_token,
            store_id=purchase.store_id,
            hit=hit,
            parameter_version=parameters.version,
            score=score,
            severity=severity(score, parameters),
        )
        for hit in hits
    )
