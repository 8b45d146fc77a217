"""The arithmetic of the figures."""

from __future__ import annotations

import statistics
from collections.abc import Sequence


def percentiles(values: Sequence[float], *wanted: int) -> dict[str, float]:
    """The percentiles by name (``p50``), interpolated between the two nearest values.

    Raises:
        ValueError: there are fewer than two values.
    """
    if len(values) < 2:  # noqa: PLR2004
        raise ValueError(f"percentiles of {len(values)} values say nothing")
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return {f"p{percent}": cuts[percent - 1] for percent in wanted}


def median_ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """The median of ``above[n] / below[n]``: each pair was measured in the same order, under the same conditions."""
    return statistics.median(one / other for one, other in zip(above, below, strict=True))


def per_million(total: float, count: int) -> float:
    """``total`` for each million of ``count``."""
    return total / count * 1_000_000
