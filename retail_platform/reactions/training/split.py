"""Which purchases a model learns from, and which later ones it is tested on: the handbook's split (chapter 5)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from retail_platform.reactions.training.dataset import Dataset, Flags


@dataclass(frozen=True, slots=True)
class Weeks:
    """Lengths in days: of the training, of the delay after which a label is known, of the test that follows it."""

    train_days: int = 28
    delay_days: int = 7
    test_days: int = 7

    def train_first(self, test_first: int) -> int:
        """The first training day before a test that begins on that day."""
        return test_first - self.delay_days - self.train_days


def split(data: Dataset, train_first: int, weeks: Weeks) -> tuple[Dataset, Dataset]:
    """(training set, test set) of the training that begins on that day.

    A test day leaves out the cards known as defrauded: with fraud in the training days, or on days up to the delay before it.
    """
    train = data.where(_days(data, train_first, weeks.train_days))
    test_first = train_first + weeks.train_days + weeks.delay_days
    chosen = np.zeros(len(data.day), dtype=np.bool_)
    for day in range(test_first, test_first + weeks.test_days):
        before = data.fraud & (data.day >= train_first) & (data.day <= day - weeks.delay_days)
        known = np.unique(data.card[before])
        chosen |= (data.day == day) & ~np.isin(data.card, known)
    return train, data.where(chosen)


def _days(data: Dataset, first: int, count: int) -> Flags:
    return (data.day >= first) & (data.day < first + count)
