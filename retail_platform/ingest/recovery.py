"""A query gets a new checkpoint in the place of one that is lost: from what the lake holds, with nothing lost or doubled.

The new checkpoint is a new identity. It begins behind the last record that is provably in the lake; what a batch that was
cut short has left there is finished first, here, in one piece. The dedupe state is gone with the old checkpoint: for one
horizon every event is looked up in silver instead (see ``silver.py``). Where Kafka no longer has what was not read, only
:func:`accept_loss` goes on, and only with a row in ``ops/lost_offsets`` for what is missing.

The stream must not run: both hold the lake's lease.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import json
import os
import pwd
import shutil
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F  # noqa: N812

from retail_platform import kafka
from retail_platform.contracts import LOST_OFFSETS
from retail_platform.contracts.model import TopicContract
from retail_platform.errors import RetailError
from retail_platform.ingest.lake import Lake
from retail_platform.ingest.ledger import Counts, Taken
from retail_platform.ingest.silver import kept
from retail_platform.ingest.stream import calendar
from retail_platform.ingest.transforms import (
    RECORD_COLUMNS,
    conform,
    first_delivery,
    of_batch,
    quarantine_rows,
    records,
    silver_rows,
    validated,
)
from retail_platform.lakehouse.checkpoints import Offsets, Recovery, checkpoint, misfits, prepare
from retail_platform.lakehouse.delta import Batch, LakeTable, open_table
from retail_platform.lakehouse.history import versions
from retail_platform.lakehouse.losses import ACCEPT_LOSS, Hole, Reach, accepted, holes, lost, next_offset
from retail_platform.lakehouse.reading import BatchEntry, ends_of, ledger
from retail_platform.settings import Settings

_NOTHING = Counts(rows_in=0, events=0, refused=0, duplicates=0)


@dataclass(frozen=True, slots=True)
class Passage:
    """How a query gets over one partition: offsets to take from bronze, from Kafka, to give up; and where it begins then."""

    taken: int
    from_bronze: range
    from_kafka: range
    lost: range
    start: int


def passage(taken: int, written: int, in_bronze: int, earliest: int) -> Passage:
    """The way over a partition whose records below ``taken`` are all dealt with.

    Args:
        taken: the offset after the last one that the ledger has.
        written: the offset after the last one that a batch which the ledger does not have has left in a table.
        in_bronze: the offset after the last one in bronze; 0 for bronze itself.
        earliest: the first one that Kafka still has.
    """
    goal = max(taken, written)
    if taken < earliest:
        goal = max(goal, min(in_bronze, earliest))
    unread = max(taken, in_bronze)
    return Passage(
        taken,
        from_bronze=range(taken, min(in_bronze, goal)),
        from_kafka=range(max(unread, earliest), goal),
        lost=range(unread, earliest),
        start=max(goal, earliest),
    )


#: The way over each partition of a topic.
Ways = Mapping[int, Passage]


@dataclass(frozen=True, slots=True)
class Acceptance:
    """Who goes on without the records that are gone, and why, if they say."""

    by: str
    reason: str | None


def recover(lake: Lake, settings: Settings, *, everything: bool = False) -> dict[str, Any]:
    """New checkpoints for the queries whose own cannot be used, or for all: ``{"queries", "aside", "lost"}``.

    The old ones are moved aside, never deleted: ``aside`` says where to.

    Raises:
        RetailError: Kafka does not answer, or no longer has what was not read (then :func:`accept_loss` is the way).
    """
    unfit = {entry.query_name for entry in misfits(settings, {t.table.path: t.writers for t in lake.tables})}
    return _renewal(lake, settings, None).run(set(_queries(lake)) if everything else unfit)


def accept_loss(lake: Lake, settings: Settings, reason: str | None = None) -> dict[str, Any]:
    """Have the queries that miss records go on without them: ``{"queries", "aside", "lost"}``.

    What silver's query has not read and bronze has is taken from there. The rest, ``lost``, is entered into
    ``ops/lost_offsets``.

    Raises:
        RetailError: Kafka does not answer.
    """
    renewal = _renewal(lake, settings, Acceptance(pwd.getpwuid(os.getuid()).pw_name, reason))
    return renewal.run({hole.query_name for hole in holes(settings, ledger(settings), renewal.reach)})


def _renewal(lake: Lake, settings: Settings, acceptance: Acceptance | None) -> _Renewal:
    reach = kafka.offsets(settings, [contract.topic for contract in settings.topics])
    return _Renewal(lake, settings, reach, dt.datetime.now(dt.UTC), acceptance)


def _queries(lake: Lake) -> list[str]:
    return [lake.bronze.table.path, *(t.table.path for t in lake.silver.values()), lake.minutes.table.path]


@dataclass(frozen=True, slots=True)
class _Renewal:
    """One recovery, at ``now``: ``reach`` is what Kafka has."""

    lake: Lake
    settings: Settings
    reach: Reach
    now: dt.datetime
    acceptance: Acceptance | None

    def run(self, names: Collection[str]) -> dict[str, Any]:
        """Renew the named queries: bronze first, from which silver may be made up."""
        before = len(accepted(self.settings))
        aside: list[Path] = []
        if self.lake.bronze.table.path in names:
            aside += self._bronze()
        for contract in self.settings.topics:
            if contract.silver_table.path in names:
                aside += self._silver(contract)
        if self.lake.minutes.table.path in names:
            aside += self._put_aside(self.lake.minutes.table.path)
        gone = [str(entry.hole) for entry in accepted(self.settings)[before:]]
        return {"queries": sorted(names), "aside": [str(path) for path in aside], "lost": gone}

    # --- One query ------------------------------------------------------------------------------------------------

    def _bronze(self) -> list[Path]:
        bronze = self.lake.bronze
        batches = ledger(self.settings)
        ways: dict[str, Ways] = {}
        for contract in self.settings.topics:
            ends = ends_of(batches, bronze.table.path, contract.topic)
            ends |= _past(_of_topic(bronze, contract), ends)
            ways[contract.topic] = self._ways(contract, ends)
        self._refuse_loss(bronze, ways)
        query_id = self._take_over(bronze)
        self._close_bronze(batches)
        self._enter_lost(bronze, ways)
        self._enter(bronze, "*", ways, Batch(str(uuid.uuid4()), 0), _NOTHING)
        return self._begin(bronze, query_id, ways)

    def _silver(self, contract: TopicContract) -> list[Path]:
        silver, batches = self.lake.silver_of(contract), ledger(self.settings)
        ends = ends_of(batches, silver.table.path, contract.topic)
        tables = (silver, self.lake.quarantine)
        in_silver, in_quarantine = (_past(_of_topic(table, contract), ends) for table in tables)
        in_bronze = _past(_of_topic(self.lake.bronze, contract), ends)
        written = {
            number: max(in_silver.get(number, 0), in_quarantine.get(number, 0)) for number in in_silver | in_quarantine
        }
        ways = {contract.topic: self._ways(contract, ends, written, in_bronze)}
        self._refuse_loss(silver, ways)
        query_id = self._take_over(silver)
        self._close_silver(contract, batches, ends)
        self._enter_lost(silver, ways)
        self._finish(contract, ways[contract.topic])
        return self._begin(silver, query_id, ways)

    def _ways(
        self,
        contract: TopicContract,
        ends: Mapping[int, int],
        written: Mapping[int, int] | None = None,
        in_bronze: Mapping[int, int] | None = None,
    ) -> Ways:
        return {
            number: passage(
                next_offset(ends, number, earliest),
                (written or {}).get(number, 0),
                (in_bronze or {}).get(number, 0),
                earliest,
            )
            for number, (earliest, _) in self.reach[contract.topic].items()
        }

    def _refuse_loss(self, table: LakeTable, ways: Mapping[str, Ways]) -> None:
        gone = self._lost(table, ways)
        if gone and self.acceptance is None:
            raise RetailError(f"Kafka no longer has what was not read ({gone[0]}); accept that with `{ACCEPT_LOSS}`")

    def _lost(self, table: LakeTable, ways: Mapping[str, Ways]) -> list[Hole]:
        """What cannot be read any more: not from Kafka, nor from bronze, which may itself have holes."""
        losses, found = accepted(self.settings), []
        for topic, parts in ways.items():
            in_bronze = lost(losses, self.lake.bronze.table.path, topic)
            for number, way in parts.items():
                gone = [_common(way.from_bronze, hole) for hole in in_bronze.get(number, [])]
                found += [
                    Hole(table.table.path, topic, number, each.start, each.stop - 1)
                    for each in (*gone, way.lost)
                    if each
                ]
        return found

    # --- The table ------------------------------------------------------------------------------------------------

    def _take_over(self, table: LakeTable) -> str:
        """First of all: an old checkpoint is refused from here on, whatever becomes of the rest."""
        query_id = str(uuid.uuid4())
        table.hand_over(query_id)
        return query_id

    def _close_bronze(self, batches: Sequence[BatchEntry]) -> None:
        """Enter into the ledger the batches that are in bronze and not in the ledger."""
        bronze = self.lake.bronze
        beyond = [
            _of_topic(bronze, contract).where(_beyond(ends_of(batches, bronze.table.path, contract.topic)))
            for contract in self.settings.topics
        ]
        found = (
            functools.reduce(DataFrame.unionByName, beyond)
            .groupBy("query_id", "batch_id", "topic", "partition")
            .agg(F.min("offset").alias("first"), F.max("offset").alias("last"), F.count("*").alias("rows"))
        )
        for batch, parts in _by_batch(found.collect()).items():
            start: Offsets = {}
            end: Offsets = {}
            for part in parts:
                start.setdefault(part["topic"], {})[str(part["partition"])] = part["first"]
                end.setdefault(part["topic"], {})[str(part["partition"])] = part["last"] + 1
            taken = Taken(bronze.table.path, "*", start, end)
            self._close(bronze, batch, taken, Counts(sum(part["rows"] for part in parts), 0, 0, 0))

    def _close_silver(self, contract: TopicContract, batches: Sequence[BatchEntry], ends: Mapping[int, int]) -> None:
        """Enter the batches that are in silver and not in the ledger: when and where, but no offsets; those are finished."""
        silver = self.lake.silver_of(contract)
        known = {Batch(batch.query_id, batch.batch_id) for batch in batches}
        found = silver.read().where(_beyond(ends)).select("query_id", "batch_id", "business_date").distinct().collect()
        for batch, rows in _by_batch(found).items():
            if batch not in known:
                dates = tuple(sorted(row["business_date"] for row in rows))
                here = Taken(silver.table.path, contract.topic, {}, {})
                self._close(silver, batch, here, Counts(0, 0, 0, 0, business_dates=dates))

    def _close(self, table: LakeTable, batch: Batch, taken: Taken, counts: Counts) -> None:
        at = (
            version.at
            for version in versions(self.settings, table.table)
            if version.writers.get(batch.query_id) == batch.batch_id
        )
        committed_at = min(at, default=self.now)
        self.lake.ledger.enter(batch, taken, counts, committed_at, committed_at)

    def _enter(self, table: LakeTable, topic: str, ways: Mapping[str, Ways], batch: Batch, counts: Counts) -> None:
        """Enter into the ledger that the query is past what was finished here, and past what is lost."""
        moved = {
            name: {number: way for number, way in parts.items() if way.start > way.taken}
            for name, parts in ways.items()
        }
        start = {
            name: {str(number): way.taken for number, way in parts.items()} for name, parts in moved.items() if parts
        }
        end = {
            name: {str(number): way.start for number, way in parts.items()} for name, parts in moved.items() if parts
        }
        if start:
            self.lake.ledger.enter(
                batch, Taken(table.table.path, topic, start, end), counts, self.now, dt.datetime.now(dt.UTC)
            )

    def _enter_lost(self, table: LakeTable, ways: Mapping[str, Ways]) -> None:
        found = list(self._new(self._lost(table, ways)))
        if not found or self.acceptance is None:
            return
        by, reason = self.acceptance.by, self.acceptance.reason
        rows = [
            (hole.query_name, hole.topic, hole.partition, hole.first, hole.last, self.now, by, reason) for hole in found
        ]
        kinds = ", ".join(f"{column.name} {column.type.spark}" for column in LOST_OFFSETS.columns)
        spark = table.spark
        losses = open_table(spark, self.settings, LOST_OFFSETS)
        losses.append(conform(spark.createDataFrame(rows, kinds), LOST_OFFSETS), Batch(str(uuid.uuid4()), 0))

    def _new(self, found: Iterable[Hole]) -> Iterator[Hole]:
        """The holes, less what was accepted before: a command that was cut short may have entered them already."""
        losses = accepted(self.settings)
        for hole in found:
            known = lost(losses, hole.query_name, hole.topic).get(hole.partition, [])
            first = max((each.stop for each in known if hole.first in each), default=hole.first)
            if first <= hole.last:
                yield dataclasses.replace(hole, first=first)

    # --- What a batch that was cut short has left, and what only bronze still has ------------------------------------

    def _finish(self, contract: TopicContract, ways: Ways) -> None:
        """Take the records of ``ways`` into silver and quarantine, as one batch; what of them is there already, stays."""
        silver, batch, counts = self.lake.silver_of(contract), Batch(str(uuid.uuid4()), 0), _NOTHING
        spans = [(number, span) for number, way in ways.items() for span in (way.from_bronze, way.from_kafka) if span]
        if spans:
            with ExitStack() as stack:
                counts = self._take(contract, self._records(contract, ways), _within(spans), batch, stack)
        self._enter(silver, contract.topic, {contract.topic: ways}, batch, counts)

    def _take(self, contract: TopicContract, taken: DataFrame, here: str, batch: Batch, stack: ExitStack) -> Counts:
        silver, quarantine = self.lake.silver_of(contract), self.lake.quarantine
        # By address, not by event: whichever of several twins a batch that was cut short chose, it is counted once.
        known = silver.read().where(here).select(contract.event_id).distinct().count()
        refused = _of_topic(quarantine, contract).where(here).select("partition", "offset")
        checked = stack.enter_context(kept(validated(taken, contract, calendar(self.settings))))
        fresh = stack.enter_context(kept(checked.join(refused, ["partition", "offset"], "left_anti")))
        events = stack.enter_context(kept(self._unknown(contract, first_delivery(fresh.where("reasons is null")))))
        rows_in = checked.count()
        in_silver = known + events.count()
        in_quarantine = refused.count() + fresh.where("reasons is not null").count()
        counts = Counts(rows_in, in_silver, in_quarantine, rows_in - in_silver - in_quarantine, _dates(events))
        quarantine.append(quarantine_rows(fresh, batch.query_id, batch.batch_id), batch)
        silver.append(silver_rows(of_batch(events, batch.query_id, batch.batch_id), contract), batch)
        return counts

    def _unknown(self, contract: TopicContract, events: DataFrame) -> DataFrame:
        """Those of ``events`` that silver does not have."""
        there = self.lake.silver_of(contract).read().where(F.col("business_date").isin(list(_dates(events))))
        return events.join(there.select(F.col(contract.event_id).alias("dedupe_key")), "dedupe_key", "left_anti")

    def _records(self, contract: TopicContract, ways: Ways) -> DataFrame:
        in_bronze = _within([(number, way.from_bronze) for number, way in ways.items() if way.from_bronze])
        found = _of_topic(self.lake.bronze, contract).where(in_bronze).select(*RECORD_COLUMNS)
        rest = {number: way.from_kafka for number, way in ways.items() if way.from_kafka}
        return found.unionByName(self._kafka(contract.topic, rest)) if rest else found

    def _kafka(self, topic: str, parts: Mapping[int, range]) -> DataFrame:
        first, past = (
            json.dumps({topic: {str(number): getattr(part, end) for number, part in parts.items()}})
            for end in ("start", "stop")
        )
        reader = self.lake.bronze.spark.read.format("kafka").options(**kafka.spark_options(self.settings))
        return records(
            reader.option("assign", json.dumps({topic: sorted(parts)}))
            .option("startingOffsets", first)
            .option("endingOffsets", past)
            .option("includeHeaders", "true")
            .option("kafka.isolation.level", "read_committed")
            .load()
        )

    # --- The checkpoint -------------------------------------------------------------------------------------------

    def _begin(self, table: LakeTable, query_id: str, ways: Mapping[str, Ways]) -> list[Path]:
        starts = {topic: {str(number): way.start for number, way in parts.items()} for topic, parts in ways.items()}
        where = Path(checkpoint(self.settings, table.table.path).path)
        fresh = where.with_name(f"{where.name}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        prepare(fresh, query_id, Recovery(self.now, starts))
        aside = self._put_aside(table.table.path)
        fresh.rename(where)
        return aside

    def _put_aside(self, query_name: str) -> list[Path]:
        where = Path(checkpoint(self.settings, query_name).path)
        if not where.exists():
            return []
        aside = where.with_name(f"{where.name}.lost-{self.now:%Y%m%dT%H%M%S.%fZ}")
        where.rename(aside)
        return [aside]


def _of_topic(table: LakeTable, contract: TopicContract) -> DataFrame:
    return table.read().where(F.col("topic") == contract.topic)


def _past(rows: DataFrame, ends: Mapping[int, int]) -> dict[int, int]:
    """By partition, the offset after the last of ``rows``; only of those beyond ``ends``."""
    found = rows.where(_beyond(ends)).groupBy("partition").agg((F.max("offset") + 1).alias("past")).collect()
    return {row["partition"]: row["past"] for row in found}


def _beyond(ends: Mapping[int, int]) -> str:
    cases = [f"(partition = {number} and offset >= {end})" for number, end in ends.items()]
    unknown = f"partition not in ({', '.join(map(str, ends))})" if ends else "true"
    return " or ".join([*cases, unknown])


def _within(spans: Iterable[tuple[int, range]]) -> str:
    cases = (f"(partition = {number} and offset >= {span.start} and offset < {span.stop})" for number, span in spans)
    return " or ".join(cases) or "false"


def _common(one: range, other: range) -> range:
    return range(max(one.start, other.start), min(one.stop, other.stop))


def _dates(events: DataFrame) -> tuple[dt.date, ...]:
    return tuple(sorted(row["business_date"] for row in events.select("business_date").distinct().collect()))


def _by_batch(rows: Iterable[Row]) -> dict[Batch, list[Row]]:
    """``rows`` by the batch that wrote them, in the order of the batches."""
    found: dict[Batch, list[Row]] = {}
    for row in sorted(rows, key=lambda row: (row["query_id"], row["batch_id"])):
        found.setdefault(Batch(row["query_id"], row["batch_id"]), []).append(row)
    return found
