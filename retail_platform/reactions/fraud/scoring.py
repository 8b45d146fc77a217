"""From the rules that hit one purchase to one score and a severity."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import ROUND_HALF_UP, Decimal
from math import prod
from typing import Literal

from retail_platform.reactions.fraud.parameters import Parameters

Severity = Literal["low", "medium", "high"]

_FOUR_PLACES = Decimal("0.0001")


def noisy_or(probabilities: Iterable[Decimal]) -> Decimal:
    """1 − Π(1 − pᵢ), four decimals: the chance of fraud when each hit alone would show it with pᵢ (Pearl, 1988).

    It takes the rules for independent causes, so it never falls when another rule hits; 0 when none did.
    """
    innocent = prod((1 - probability for probability in probabilities), start=Decimal(1))
    return (1 - innocent).quantize(_FOUR_PLACES, ROUND_HALF_UP)


def severity(score: Decimal, parameters: Parameters) -> Severity:
    """The severity of a score."""
    if score >= parameters.high:
        return "high"
    return "medium" if score >= parameters.medium else "low"
