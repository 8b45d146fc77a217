"""Whether a rule may act: its hits beside the analysts' verdicts, against the release criteria.

The criteria are issue 5's: at least 30 % of a rule's hits are fraud, and under 0.5 % of the traffic is hit. They hold for
a rule in shadow (may it be released?) and for one out of it (must it go back?) alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from retail_platform.reactions.fraud.labels import Verdict


class Hit(NamedTuple):
    """A rule and the ``event_id`` of the transaction that it hit."""

    rule: str
    transaction_event_id: str


@dataclass(frozen=True, slots=True)
class Criteria:
    """``precision``: least share of fraud among hits. ``traffic``: the share of purchases hit must be under this.

    ``labels``: verdicts needed before a precision is believed (prior: with 30, a true 15 % passes 30 % once in 40 times).
    """

    precision: float = 0.30
    traffic: float = 0.005
    labels: int = 30


CRITERIA = Criteria()


@dataclass(frozen=True, slots=True)
class Measure:
    """One rule: ``hits`` purchases hit, ``labelled`` of them judged, ``confirmed`` of those fraud.

    ``precision``: confirmed / labelled, ``None`` without labels. ``traffic``: hits / purchases. ``missing``: the criteria
    that it does not meet, in words; none when it may be released.
    """

    rule: str
    hits: int
    labelled: int
    confirmed: int
    precision: float | None
    traffic: float
    missing: tuple[str, ...]

    @property
    def released(self) -> bool:
        """Whether the rule meets all criteria."""
        return not self.missing

    def row(self) -> tuple[str, ...]:
        """The rule as a row under :data:`HEADER`."""
        precision = "–" if self.precision is None else f"{self.precision:.1%}"
        verdict = "passes" if self.released else "; ".join(self.missing)
        counts = (f"{count:,}" for count in (self.hits, self.labelled, self.confirmed))
        return (self.rule, *counts, precision, f"{self.traffic:.3%}", verdict)


HEADER = ("rule", "hits", "labelled", "confirmed", "precision", "of traffic", "criteria")


def measure(
    hits: Iterable[Hit],
    verdicts: Mapping[str, Verdict],
    purchases: int,
    rules: Sequence[str],
    criteria: Criteria = CRITERIA,
) -> tuple[Measure, ...]:
    """A measure for each of ``rules``, in their order.

    ``verdicts``: the last one by the transaction's event_id. ``purchases``: all card purchases that the rules saw. Hits are
    counted once a rule and transaction, whatever their number. ``ValueError`` when there was no purchase.
    """
    if purchases < 1:
        raise ValueError("rules that saw no purchase cannot be measured")
    found = set(hits)
    return tuple(
        _measure(rule, {hit.transaction_event_id for hit in found if hit.rule == rule}, verdicts, purchases, criteria)
        for rule in rules
    )


def _measure(rule: str, hit: set[str], verdicts: Mapping[str, Verdict], purchases: int, criteria: Criteria) -> Measure:
    judged = [verdicts[event_id] for event_id in hit if event_id in verdicts]
    confirmed = judged.count("confirmed")
    precision = confirmed / len(judged) if judged else None
    traffic = len(hit) / purchases
    missing = []
    if precision is None or len(judged) < criteria.labels:
        missing.append(f"{len(judged)} of {criteria.labels} labels")
    elif precision < criteria.precision:
        missing.append(f"precision under {criteria.precision:.0%}")
    if traffic >= criteria.traffic:
        missing.append(f"hits {criteria.traffic:.1%} of traffic or more")
    return Measure(rule, len(hit), len(judged), confirmed, precision, traffic, tuple(missing))
