"""How far an application is behind the shops' events, told from Kafka's offsets alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

#: By topic and partition the next offset: of a topic's end, or of what a consumer group has committed.
Offsets = Mapping[str, Mapping[int, int]]
#: By topic and partition the earliest and the next offset.
Reach = Mapping[str, Mapping[int, tuple[int, int]]]


def ends(reach: Reach) -> dict[str, dict[int, int]]:
    """Where the topics end."""
    return {topic: {number: last for number, (_, last) in partitions.items()} for topic, partitions in reach.items()}


def lag(reach: Reach, committed: Offsets) -> int:
    """Records that the topics have and the group has not committed."""
    return sum(max(0, last - done) for last, done in _places(reach, committed))


def has_read(reach: Reach, committed: Offsets, until: Offsets) -> bool:
    """Whether the group has committed all that there was when the topics ended at ``until``."""
    known = {
        topic: {number: (first, until.get(topic, {}).get(number, first)) for number, (first, _) in partitions.items()}
        for topic, partitions in reach.items()
    }
    return all(done >= end for end, done in _places(known, committed))


def _places(reach: Reach, committed: Offsets) -> Iterator[tuple[int, int]]:
    for topic, partitions in reach.items():
        for number, (first, last) in partitions.items():
            yield last, committed.get(topic, {}).get(number, first)
