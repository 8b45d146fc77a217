"""Drawing at random with weights, fast: one uniform number and a binary search."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate
from random import Random
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Weighted(Generic[T]):
    """Choices with their running totals of weight; the last is the sum."""

    choices: tuple[T, ...]
    totals: tuple[float, ...]

    def draw(self, random: Random) -> T:
        """One of the choices, each as likely as its weight."""
        return self.choices[bisect(self.totals, random.random() * self.totals[-1], 0, len(self.choices) - 1)]


def weighted(pairs: Iterable[tuple[T, float]]) -> Weighted[T]:
    """Choices from (choice, weight) pairs; needs at least one with a positive weight."""
    kept = [(choice, weight) for choice, weight in pairs if weight > 0]
    return Weighted(tuple(choice for choice, _ in kept), tuple(accumulate(weight for _, weight in kept)))
