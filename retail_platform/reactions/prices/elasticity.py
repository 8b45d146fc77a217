"""How demand answers to price: the slope of ln(units) on ln(price), shrunk towards the category's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Elasticity:
    """``value``: per cent of demand for one per cent of price, below zero as a rule. ``weight``: of the product's own."""

    value: float
    weight: float
    observations: int


@dataclass(frozen=True, slots=True)
class Slope:
    """An ordinary least squares slope and the variance of its error."""

    value: float
    variance: float


def log_log_slope(observations: Sequence[tuple[float, float]]) -> Slope | None:
    """The slope of ln(units) on ln(price) over (price, units), all above zero; ``None`` when they show none.

    Days without a sale have no logarithm and must be left out, which biases a slow seller's slope towards zero.
    """
    points = [(math.log(price), math.log(units)) for price, units in observations]
    if len(points) < 3:  # noqa: PLR2004  an error variance needs a degree of freedom
        return None
    mean_x = math.fsum(x for x, _ in points) / len(points)
    mean_y = math.fsum(y for _, y in points) / len(points)
    spread = math.fsum((x - mean_x) ** 2 for x, _ in points)
    if spread < 1e-9:  # noqa: PLR2004  one price only, but for rounding
        return None
    slope = math.fsum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    residual = math.fsum((y - mean_y - slope * (x - mean_x)) ** 2 for x, y in points)
    return Slope(slope, residual / (len(points) - 2) / spread)


def shrunk(
    observations: Sequence[tuple[float, float]], category: float, variance: float, least_observations: int
) -> Elasticity:
    """A product's elasticity: its own slope and its category's, weighted by what each is known to.

    The weight of its own is τ²/(τ² + s²), the posterior mean under a normal prior (Gelman and others, "Bayesian Data
    Analysis", 3rd edition, section 2.5): ``variance`` τ² is how products of a category differ, s² the slope's error. From
    fewer than ``least_observations``, or one price, it is the category's.
    """
    slope = log_log_slope(observations) if len(observations) >= least_observations else None
    if slope is None:
        return Elasticity(category, 0.0, len(observations))
    weight = variance / (variance + slope.variance)
    return Elasticity(weight * slope.value + (1 - weight) * category, weight, len(observations))
