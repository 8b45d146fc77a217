"""Negative controls: each does a wrong thing for real, on a copy of a real lake, and the verifier must find it.

A verifier that has never been red proves nothing. Two controls do nothing wrong, and must be green: the plain drain, and
the recovery of lost checkpoints. Without that step, lost checkpoints must be red ("dedupe state lost").
"""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from retail_platform import kafka
from retail_platform.chaos.ledger import ledger_path, open_ledger
from retail_platform.chaos.load import messages
from retail_platform.chaos.verifier import verify
from retail_platform.contracts import TRANSACTIONS
from retail_platform.embedded.broker import EmbeddedBroker
from retail_platform.errors import RetailError
from retail_platform.ingest import stream
from retail_platform.ingest.lake import Lake, open_lake
from retail_platform.ingest.recovery import recover
from retail_platform.ingest.session import end_session, spark_session
from retail_platform.lakehouse.delta import Batch, LakeTable
from retail_platform.lakehouse.lease import lake_lease
from retail_platform.producer.message import Message
from retail_platform.producer.send import send
from retail_platform.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_RATE = 300.0
_SECONDS = timedelta(seconds=2)
_TWIN_EVERY = 5
_DRAIN_SECONDS = 240.0
_SILVER = TRANSACTIONS.silver_table.path

Say = Callable[[str], None]
Prepare = Callable[[Lake], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """A control, what the verifier found, and whether that is what it had to find."""

    name: str
    found: str
    right: bool

    def record(self) -> dict[str, Any]:
        """The outcome as plain values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Laboratory:
    """A broker that holds two deliveries, and a lake that holds the first; the ledger knows both."""

    spark: SparkSession
    settings: Settings
    between: dict[str, dict[int, tuple[int, int]]]

    def copy(self, name: str) -> Settings:
        """Settings of a copy of the lake with its checkpoints and the ledger."""
        home = self.settings.retail_home.with_name(f"{self.settings.retail_home.name}-{name.replace(' ', '-')}")
        shutil.copytree(
            self.settings.retail_home, home, ignore=shutil.ignore_patterns("kafka", "logs", "spark", "control")
        )
        return self.settings.model_copy(update={"retail_home": home})


Wrong = Callable[[Laboratory, Settings], None]


def nothing_wrong(lab: Laboratory, copy: Settings) -> None:
    """The second delivery is drained as it should be."""
    drain(lab.spark, copy)


def event_dropped_by_hand(lab: Laboratory, copy: Settings) -> None:
    """Somebody deletes one event from silver."""
    from deltalake import DeltaTable

    drain(lab.spark, copy)
    table = DeltaTable(copy.lake_dir / _SILVER)
    table.delete(f"event_id = '{_some_event(copy)}'")


def duplicates_let_through(lab: Laboratory, copy: Settings) -> None:
    """The stream does not drop twins."""
    from pyspark.sql.classic.dataframe import DataFrame as Rows

    shutil.rmtree(copy.lake_dir)
    shutil.rmtree(copy.checkpoints_dir)
    with _replaced(Rows, "dropDuplicatesWithinWatermark", lambda rows, _columns: rows):
        drain(lab.spark, copy)


def second_writer(lab: Laboratory, copy: Settings) -> None:
    """A second driver with a checkpoint of its own writes the same tables."""
    drain(lab.spark, copy)
    shutil.rmtree(copy.checkpoints_dir)
    with _unguarded():
        drain(lab.spark, copy)


def new_checkpoint_under_the_old_identity(lab: Laboratory, copy: Settings) -> None:
    """Somebody empties the checkpoints but keeps the file that names the query: it begins again, and skips."""
    for checkpoint in copy.checkpoints_dir.iterdir():
        for path in checkpoint.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
    with _unguarded():
        drain(lab.spark, copy)


def history_not_compared(lab: Laboratory, copy: Settings) -> None:
    """The driver dies after silver was written, and the next does not ask the table what is in it."""
    try:
        drain(lab.spark, copy, _dying_after(_SILVER))
    except RetailError:
        with _replaced(LakeTable, "has", lambda _table, _batch: False):
            drain(lab.spark, copy)


def checkpoints_recovered(lab: Laboratory, copy: Settings) -> None:
    """Every checkpoint is lost, and the recovery makes new ones: that is not wrong, and must not look it."""
    shutil.rmtree(copy.checkpoints_dir)
    with lake_lease(copy, "chaos"):
        recover(open_lake(lab.spark, copy), copy)
    drain(lab.spark, copy)


def dedupe_state_lost(lab: Laboratory, copy: Settings) -> None:
    """Silver's checkpoint is lost, and a new one goes on where bronze ended, remembering nothing."""
    _forget(lab)
    shutil.rmtree(copy.checkpoints_dir / _SILVER.replace("/", "-"))
    with _unguarded():
        drain(lab.spark, copy)


#: What each control does, and the promise that it must break: none where nothing is wrong. The last takes records from Kafka.
CONTROLS: dict[str, tuple[Wrong, str | None]] = {
    "nothing wrong": (nothing_wrong, None),
    "one event dropped by hand": (event_dropped_by_hand, "every acknowledged event is in silver"),
    "duplicates let through": (duplicates_let_through, "silver has each event once"),
    "a second writer": (second_writer, "bronze has each record once"),
    "a new checkpoint under the old identity": (
        new_checkpoint_under_the_old_identity,
        "every acknowledged record is in bronze, byte for byte",
    ),
    "first batch not compared with the history": (history_not_compared, "silver has each event once"),
    "checkpoints lost and recovered": (checkpoints_recovered, None),
    "dedupe state lost": (dedupe_state_lost, "silver has each event once"),
}


def prove(settings: Settings, say: Say, names: Sequence[str] = tuple(CONTROLS)) -> list[Outcome]:
    """Do each control on a broker and a lake of its own, in the home of ``settings``.

    Raises:
        RetailError: the broker or Spark does not start.
    """
    broker = EmbeddedBroker(settings)
    broker.start()
    try:
        spark = spark_session(settings, "retail-controls")
        try:
            return prove_with(spark, settings, say, names)
        finally:
            end_session(spark)
    finally:
        broker.stop()


def prove_with(
    spark: SparkSession, settings: Settings, say: Say, names: Sequence[str] = tuple(CONTROLS)
) -> list[Outcome]:
    """:func:`prove` with a broker that runs, whose topics are empty, and a Spark session that is there."""
    lab = _laboratory(spark, settings.model_copy(update={"retail_home": settings.retail_home / "controls" / "lake"}))
    return [_outcome(lab, name, say) for name in names]


def drain(spark: SparkSession, settings: Settings, prepare: Prepare | None = None) -> None:
    """What the job does in ``available_now``, in this process; ``prepare`` may spoil the lake before.

    Raises:
        RetailError: a query failed, or the drain took too long.
    """
    with lake_lease(settings, "chaos"):
        lake = open_lake(spark, settings)
        if prepare is not None:
            prepare(lake)
        with stream.running_stream(spark, settings, lake, available_now=True) as running:
            deadline = time.monotonic() + _DRAIN_SECONDS
            while not running.finished:
                if time.monotonic() > deadline:
                    raise RetailError(f"the stream did not drain within {_DRAIN_SECONDS:.0f} s")
                time.sleep(0.05)
            failure = running.failure()
            if failure:
                raise RetailError(failure)


def _laboratory(spark: SparkSession, settings: Settings) -> Laboratory:
    kafka.ensure_topics(settings)
    first = list(messages(1, _RATE, _SECONDS))
    twins = [message for message in first if message.label == "transaction"][::_TWIN_EVERY]
    _deliver(settings, first)
    drain(spark, settings)
    between = kafka.offsets(settings, [contract.topic for contract in settings.topics])
    _deliver(settings, [*messages(2, _RATE, _SECONDS), *twins])
    return Laboratory(spark, settings, between)


def _deliver(settings: Settings, delivery: list[Message]) -> None:
    with open_ledger(settings) as ledger:
        report = send(settings, delivery, on_acknowledged=ledger.acknowledged)
    if report.failed:
        raise RetailError(f"Kafka refused {report.failed} records: {'; '.join(report.refused)}")


def _outcome(lab: Laboratory, name: str, say: Say) -> Outcome:
    wrong, promise = CONTROLS[name]
    copy = lab.copy(name)
    wrong(lab, copy)
    verdict = verify(copy)
    broken = [finding.promise for finding in verdict.findings]
    right = verdict.kept if promise is None else promise in broken
    outcome = Outcome(name, "; ".join(broken) or "every promise was kept", right)
    say(f"{outcome.name}: {outcome.found}")
    return outcome


def _some_event(settings: Settings) -> str:
    """An event that the lake holds: the first valid transaction of the ledger."""
    with ledger_path(settings).open(encoding="utf-8") as lines:
        entries = (json.loads(line) for line in lines)
        return str(next(e["event_id"] for e in entries if e["event_id"] and e["topic"] == TRANSACTIONS.topic))


def _dying_after(table: str) -> Prepare:
    def prepare(lake: Lake) -> None:
        doomed = next(entry for entry in lake.tables if entry.table.path == table)
        write = doomed.append

        def append(rows: DataFrame, batch: Batch) -> None:
            write(rows, batch)
            raise RuntimeError(f"died after {table}")

        doomed.append = append  # type: ignore[assignment,method-assign]

    return prepare


def _unguarded() -> AbstractContextManager[None]:
    """The job without its refusal to start on a lake whose checkpoints are gone."""
    return _replaced(stream, "_refuse_foreign_checkpoints", lambda _settings, _lake: None)


@contextmanager
def _replaced(owner: object, name: str, value: object) -> Iterator[None]:
    kept = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, kept)


def _forget(lab: Laboratory) -> None:
    """Take the first delivery from Kafka, as retention would."""
    asyncio.run(_delete(lab))


async def _delete(lab: Laboratory) -> None:
    admin = AIOKafkaAdminClient(**kafka.client_options(lab.settings))
    await admin.start()
    try:
        await admin.delete_records(
            {
                TopicPartition(topic, number): RecordsToDelete(before_offset=last)
                for topic, parts in lab.between.items()
                for number, (first, last) in parts.items()
                if last > first  # nothing is in the compacted topics, whose records Kafka deletes for nobody
            }
        )
    finally:
        await admin.close()
