"""Records that left Kafka before they were read: what is gone, what of it was accepted, what the stream needs to go on."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from retail_platform import kafka
from retail_platform.contracts import BRONZE_EVENTS, LOST_OFFSETS
from retail_platform.contracts.model import TopicContract
from retail_platform.errors import RetailError
from retail_platform.lakehouse.checkpoints import misfits, newest_writers
from retail_platform.lakehouse.location import has_delta
from retail_platform.lakehouse.manifest import manifest
from retail_platform.lakehouse.reading import BatchEntry, ends_of, ledger, rows_of
from retail_platform.settings import Settings

#: By topic and partition: Kafka's earliest and its next offset.
Reach = Mapping[str, Mapping[int, tuple[int, int]]]

RECOVER = "retail stream recover"
ACCEPT_LOSS = "retail stream accept-loss"


@dataclass(frozen=True, slots=True)
class Hole:
    """Offsets of one partition, ``first`` to ``last``, that a query has not read and that Kafka no longer has."""

    query_name: str
    topic: str
    partition: int
    first: int
    last: int

    def __str__(self) -> str:
        return f"{self.query_name}: {self.topic}/{self.partition}, offsets {self.first:,} to {self.last:,}"


@dataclass(frozen=True, slots=True)
class Accepted:
    """A hole that somebody accepted: who, when it was found (UTC), and why, if they said."""

    hole: Hole
    found_at: dt.datetime
    accepted_by: str
    reason: str | None


def readers(settings: Settings) -> Iterator[tuple[str, TopicContract]]:
    """Every query that reads Kafka with each topic that it reads."""
    for contract in settings.topics:
        yield BRONZE_EVENTS.path, contract
        yield contract.silver_table.path, contract


def holes(settings: Settings, batches: Sequence[BatchEntry], reach: Reach) -> list[Hole]:
    """What each query has not read, by the ledger's ``batches``, and can no longer read: what nobody has accepted yet."""
    found = []
    for query, contract in readers(settings):
        ends = ends_of(batches, query, contract.topic)
        for partition, (earliest, _) in reach[contract.topic].items():
            first = next_offset(ends, partition, earliest)
            if first < earliest:
                found.append(Hole(query, contract.topic, partition, first, earliest - 1))
    return found


def next_offset(ends: Mapping[int, int], partition: int, earliest: int) -> int:
    """Where a query goes on in a partition. One that never read begins with what there is; a new partition begins at 0."""
    return ends.get(partition, 0) if ends else earliest


def accepted(settings: Settings) -> list[Accepted]:
    """The holes that were accepted, oldest first."""
    if not has_delta(settings, LOST_OFFSETS):
        return []
    found = rows_of(
        manifest(settings, LOST_OFFSETS),
        'select query_name, topic, "partition", first_offset, last_offset, cast(found_at as timestamp), accepted_by, '
        "reason from t order by found_at, query_name, topic, partition",
    )
    return [Accepted(Hole(*row[:5]), row[5].replace(tzinfo=dt.UTC), row[6], row[7]) for row in found]


def lost(found: Iterable[Accepted], query_name: str, topic: str) -> dict[int, list[range]]:
    """The offsets of a topic, by partition, whose loss to a query was accepted: in order, none twice."""
    ranges: dict[int, list[range]] = {}
    mine = (entry.hole for entry in found if (entry.hole.query_name, entry.hole.topic) == (query_name, topic))
    for hole in sorted(mine, key=lambda hole: (hole.partition, hole.first)):
        known = ranges.setdefault(hole.partition, [])
        first = max(hole.first, known[-1].stop) if known else hole.first
        if first <= hole.last:
            known.append(range(first, hole.last + 1))
    return ranges


@dataclass(frozen=True, slots=True)
class Repair:
    """What keeps a query from going on, and the command that mends it."""

    what: str
    command: str


def repairs(settings: Settings) -> list[Repair]:
    """What the stream needs before it can go on. Not to be asked while it runs: it writes what is looked at here.

    Raises:
        RetailError: Kafka does not answer.
    """
    found = [Repair(entry.why, RECOVER) for entry in misfits(settings, newest_writers(settings))]
    try:
        batches = ledger(settings)
    except RetailError:
        return found  # no stream ever ran: nothing can be missing
    reach = kafka.offsets(settings, [contract.topic for contract in settings.topics])
    gone = [Repair(f"left Kafka unread: {hole}", ACCEPT_LOSS) for hole in holes(settings, batches, reach)]
    # The loss first: a recovery does not pass over it.
    return [*gone, *found]
