"""The quarantine as an operator sees it: which records were refused, why, and which of them have been mended since.

The table is only ever added to, so what was mended is derived, not marked: a refused record is *mended* when its event is
in silver now, told by the ``event_id`` that its raw value names and by its topic. It does not matter how the event got
there: by a replay, by a mended twin from its sender, or by a silver day that was derived again after the rules changed.
A value without a readable ``event_id`` (no JSON, no such field) can name no event, so it is never mended.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from retail_platform.contracts import QUARANTINE_EVENTS
from retail_platform.contracts.judge import judge
from retail_platform.lakehouse.manifest import Manifest, manifest
from retail_platform.lakehouse.reading import rows_of, rows_over
from retail_platform.settings import Settings

_CHUNK = 500

#: Names a record of Kafka: topic, partition, offset.
Address = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class Selection:
    """Which refused records: those that meet all that is given. ``day`` is the UTC date of the broker's append time."""

    topic: str | None = None
    partition: int | None = None
    offset: int | None = None
    reason: str | None = None
    day: dt.date | None = None

    def condition(self) -> tuple[str, list[Any]]:
        """The selection as SQL over the quarantine's columns, and its parameters."""
        wanted = {
            "topic = ?": self.topic,
            '"partition" = ?': self.partition,
            '"offset" = ?': self.offset,
            "list_contains(reasons, ?)": self.reason,
            "ingest_date = ?": self.day,
        }
        given = {sql: value for sql, value in wanted.items() if value is not None}
        return " and ".join(given) or "true", list(given.values())


@dataclass(frozen=True, slots=True)
class Refused:
    """One refused record, without its bytes. ``event_id`` is what its value names, if that can be read."""

    topic: str
    partition: int
    offset: int
    append_time: dt.datetime
    event_id: str | None
    reasons: tuple[str, ...]
    mended: bool

    @property
    def address(self) -> Address:
        """Where it is in Kafka, and its key in the quarantine."""
        return self.topic, self.partition, self.offset


@dataclass(frozen=True, slots=True)
class Count:
    """Refused records of a topic and an append day (UTC) for one reason; a record counts under each of its reasons."""

    topic: str
    day: dt.date
    reason: str
    records: int
    mended: int


@dataclass(frozen=True, slots=True)
class Raw:
    """A refused record as Kafka had it, byte for byte."""

    address: Address
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


def counts(settings: Settings, selection: Selection) -> list[Count]:
    """How many records were refused, by topic, day and reason.

    Raises:
        RetailError: the lake has no quarantine yet.
    """
    # The reason asked for, not the others that its records happen to have as well.
    only = "where reason = ?" if selection.reason is not None else ""
    found = _query(
        settings,
        selection,
        "select topic, day, reason, count(*), count_if(mended) "
        f"from (select topic, day, unnest(reasons) as reason, mended from refused) {only} group by all order by all",
        [] if selection.reason is None else [selection.reason],
    )
    return [Count(*row) for row in found]


def refused(settings: Settings, selection: Selection) -> list[Refused]:
    """The refused records, oldest first.

    Raises:
        RetailError: the lake has no quarantine yet.
    """
    found = _query(
        settings,
        selection,
        'select topic, "partition", "offset", append_time, event_id, reasons, mended from refused '
        'order by append_time, topic, "partition", "offset"',
    )
    return [
        Refused(topic, partition, offset, at.replace(tzinfo=dt.UTC), event_id, tuple(reasons), mended)
        for topic, partition, offset, at, event_id, reasons, mended in found
    ]


def raw(settings: Settings, addresses: Sequence[Address]) -> Iterator[Raw]:
    """The records at ``addresses``, some hundreds in memory at a time."""
    contents = manifest(settings, QUARANTINE_EVENTS)
    for start in range(0, len(addresses), _CHUNK):
        yield from _chunk(contents, addresses[start : start + _CHUNK])


def reasons_now(settings: Settings, addresses: Sequence[Address]) -> dict[Address, tuple[str, ...]]:
    """What the contracts of now have against the records, were Kafka to get them now; nothing where they would be accepted.

    Records of topics that are not ingested are left out.
    """
    contracts, now = {contract.topic: contract for contract in settings.topics}, dt.datetime.now(dt.UTC)
    found = {}
    for record in raw(settings, addresses):
        contract = contracts.get(record.address[0])
        if contract is not None:
            judgement = judge(contract, record.value, now, settings.business_timezone, settings.partitions_start_date)
            found[record.address] = judgement.reasons
    return found


def _chunk(contents: Manifest, addresses: Sequence[Address]) -> Iterator[Raw]:
    places = ", ".join(["(?, ?, ?)"] * len(addresses))
    found = rows_of(
        contents,
        f'select topic, "partition", "offset", key, value, headers from t where (topic, "partition", "offset") in ({places})',
        [part for address in addresses for part in address],
    )
    for topic, partition, offset, key, value, headers in found:
        pairs = tuple((header["key"], header["value"]) for header in headers or ())
        yield Raw((topic, partition, offset), key, value, pairs)


def _query(settings: Settings, selection: Selection, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """The rows of ``sql`` over ``refused``: the selected records with their day, event_id, and whether they are mended."""
    silver = {contract.silver_name: manifest(settings, contract.silver_table) for contract in settings.topics}
    events = " union all ".join(f"select topic, {c.event_id} as event_id from {c.silver_name}" for c in settings.topics)
    condition, selected = selection.condition()
    return rows_over(
        {"quarantine": manifest(settings, QUARANTINE_EVENTS), **silver},
        f"""
        with texts as (
            select *, try(decode(value)) as text from quarantine where {condition}
        ), named as (
            select *, if(json_valid(text), lower(json_extract_string(text, '$.event_id')), null) as event_id from texts
        ), refused as (
            select topic, "partition", "offset", cast(append_time as timestamp) as append_time, ingest_date as day,
                event_id, reasons, coalesce((topic, event_id) in (select (topic, event_id) from ({events})), false) as mended
            from named
        )
        {sql}
        """,
        [*selected, *parameters],
    )
