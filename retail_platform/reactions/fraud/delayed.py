"""Counts of purchases over time, with verdicts that come days later: what store risk and terminal features are made of."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Counts:
    """Purchases by bucket of time, and which of them were confirmed as fraud.

    ``buckets`` ascending, whole numbers of the bucket's length since 1970; ``purchases`` beside them; ``frauds``: (event_id
    of the transaction, its bucket); ``recent``: ids of the newest events, transactions and labels, by arrival.

    Bounded by the horizon that is kept, by as many buckets as lie in it, by the frauds confirmed in it, and by ``remembered``
    ids. A duplicate is told as long as fewer than ``remembered`` other events of the key came after it; frauds are a set, so a
    verdict given again changes nothing however late. A verdict may come before its purchase, as when both are read again
    from the beginning: the counts are the same in the end.
    """

    buckets: tuple[int, ...] = ()
    purchases: tuple[int, ...] = ()
    frauds: tuple[tuple[str, int], ...] = ()
    recent: tuple[str, ...] = ()

    def packed(self) -> dict[str, Any]:
        """The state as JSON."""
        return {
            "buckets": list(self.buckets),
            "purchases": list(self.purchases),
            "frauds": [list(fraud) for fraud in self.frauds],
            "recent": list(self.recent),
        }

    def within(self, after: int, until: int) -> tuple[int, int]:
        """(purchases, confirmed frauds) of the buckets past ``after`` and up to ``until``.

        A fraud counts where purchases do: of a time that was never seen, or is no longer kept, there would be frauds alone.
        """
        start, end = bisect_right(self.buckets, after), bisect_right(self.buckets, until)
        frauds = sum(1 for _, bucket in self.frauds if after < bucket <= until and self._has(bucket))
        return sum(self.purchases[start:end]), frauds

    def _has(self, bucket: int) -> bool:
        place = bisect_left(self.buckets, bucket)
        return place < len(self.buckets) and self.buckets[place] == bucket


def unpacked(packed: Mapping[str, Any] | None) -> Counts:
    """The state from its JSON; ``None`` is the state of a key never seen."""
    if packed is None:
        return Counts()
    return Counts(
        tuple(packed["buckets"]),
        tuple(packed["purchases"]),
        tuple((event_id, bucket) for event_id, bucket in packed["frauds"]),
        tuple(packed["recent"]),
    )


def counted(counts: Counts, event_id: str, bucket: int, kept: int, remembered: int) -> Counts:
    """With one purchase more. ``kept``: buckets behind the newest that stay."""
    if event_id in counts.recent:
        return counts
    buckets, purchases = entered(counts.buckets, counts.purchases, bucket, 1)
    oldest = buckets[-1] - kept
    gone = bisect_left(buckets, oldest)
    frauds = tuple(fraud for fraud in counts.frauds if fraud[1] >= oldest)
    return Counts(buckets[gone:], purchases[gone:], frauds, (*counts.recent, event_id)[-remembered:])


def judged(
    counts: Counts, label_id: str, transaction_event_id: str, bucket: int, *, fraud: bool, kept: int, remembered: int
) -> Counts:
    """With a verdict on the transaction of that bucket; of several verdicts on one the last to arrive holds.

    A verdict on a time that is no longer ``kept`` changes no count.
    """
    if label_id in counts.recent:
        return counts
    frauds = tuple(known for known in counts.frauds if known[0] != transaction_event_id)
    if fraud and (not counts.buckets or bucket >= counts.buckets[-1] - kept):
        frauds = (*frauds, (transaction_event_id, bucket))
    return replace(counts, frauds=frauds, recent=(*counts.recent, label_id)[-remembered:])


def entered(
    buckets: tuple[int, ...], values: tuple[int, ...], bucket: int, value: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Ascending buckets and their values, with ``value`` added in ``bucket``."""
    place = bisect_left(buckets, bucket)
    if place == len(buckets):
        return (*buckets, bucket), (*values, value)
    if buckets[place] == bucket:
        return buckets, (*values[:place], values[place] + value, *values[place + 1 :])
    return (*buckets[:place], bucket, *buckets[place:]), (*values[:place], value, *values[place:])
