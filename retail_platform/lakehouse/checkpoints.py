"""The checkpoints of the stream's queries, as files: what each says of itself, and whether it fits what is in the lake.

Spark writes them; nothing here starts Spark. A checkpoint that was made by a recovery has, beside what Spark keeps in
one, ``recovery.json``: where its query begins to read.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retail_platform.contracts import BRONZE_EVENTS, INGEST_BATCHES, QUARANTINE_EVENTS, SALES_BY_MINUTE
from retail_platform.errors import RetailError
from retail_platform.lakehouse.history import versions
from retail_platform.lakehouse.location import Place, checkpoints
from retail_platform.settings import Settings

#: Offsets by topic and partition, as Spark's Kafka source writes them.
Offsets = dict[str, dict[str, int]]
#: By the path of a table: the last batch in it of each query that writes it.
Writers = Mapping[str, Mapping[str, int]]

_RECOVERY = "recovery.json"
_METADATA = "metadata"


@dataclass(frozen=True, slots=True)
class Recovery:
    """What a new checkpoint knows in the place of a lost one: when it was made (UTC), and where its query begins."""

    recovered_at: dt.datetime
    starting_offsets: Offsets


@dataclass(frozen=True, slots=True)
class Misfit:
    """A query whose checkpoint cannot be used, and why."""

    query_name: str
    why: str


@dataclass(frozen=True, slots=True)
class _State:
    """A checkpoint: its query's identity, the last batches it has planned and committed; ``damage`` where it is unreadable.

    ``reads``: what the last planned batch has offsets of: of a query that reads Kafka, its topics.
    """

    query_id: str = ""
    planned: int = -1
    committed: int = -1
    reads: tuple[str, ...] = ()
    damage: str | None = None


def checkpoint(settings: Settings, query_name: str) -> Place:
    """Where a query keeps its checkpoint: its name, with the slash made a dash."""
    return checkpoints(settings) / query_name.replace("/", "-")


def recovery_of(where: Place) -> Recovery | None:
    """What a recovery left in a checkpoint; ``None`` in one that has been there from the beginning."""
    file = where / _RECOVERY
    if not file.exists():
        return None
    data = json.loads(file.text())
    return Recovery(dt.datetime.fromisoformat(data["recovered_at"]), data["starting_offsets"])


def has_begun(where: Place) -> bool:
    """Whether a checkpoint's query has planned a batch: from then on Spark goes by the checkpoint alone."""
    return any(_numbers(where / "offsets"))


def prepare(where: Path, query_id: str, recovery: Recovery) -> None:
    """Write a checkpoint on this machine's disk, in which a query of that identity begins as ``recovery`` says."""
    where.mkdir(parents=True)
    record = {
        "recovered_at": recovery.recovered_at.isoformat(timespec="milliseconds"),
        "starting_offsets": recovery.starting_offsets,
    }
    (where / _RECOVERY).write_text(json.dumps(record), encoding="utf-8")
    (where / _METADATA).write_text(json.dumps({"id": query_id}), encoding="utf-8")


def misfits(settings: Settings, writers: Writers) -> list[Misfit]:
    """The queries whose checkpoint does not belong to the lake as it is, or cannot be read.

    Without its checkpoint a query would write everything a second time. With an older one it would number other records
    like a batch that is in, and skip them: Spark logs a batch's offsets before the batch runs, so a checkpoint that has
    not logged the last batch that is in was put back from an earlier time. With one that has committed a batch which the
    lake does not have, that batch's records would be passed over. One of other topics Spark takes for a loss of data: it
    has no beginning for a topic that came, and misses the one that went.
    """
    found = []
    readers = {contract.silver_table.path: [contract.topic] for contract in settings.topics}
    readers[BRONZE_EVENTS.path] = [contract.topic for contract in settings.topics]
    for table, topics in readers.items():
        why = _unfit(checkpoint(settings, table), table, topics, writers)
        if why:
            found.append(Misfit(table, why))
    # Its batches have no identity in any table: it sums minutes again, and is right from wherever it begins.
    minutes = checkpoint(settings, SALES_BY_MINUTE.path)
    damage = _state(minutes).damage
    return [*found, Misfit(SALES_BY_MINUTE.path, f"{minutes} is damaged: {damage}")] if damage else found


def newest_writers(settings: Settings) -> Writers:
    """What the newest commit of each table that a query writes says is in it; nothing for a table that is not there."""
    tables = (
        BRONZE_EVENTS,
        QUARANTINE_EVENTS,
        *(contract.silver_table for contract in settings.topics),
        INGEST_BATCHES,
    )
    found: dict[str, Mapping[str, int]] = {}
    for table in tables:
        try:
            found[table.path] = versions(settings, table, 1)[0].writers
        except RetailError:
            continue
    return found


def _unfit(where: Place, table: str, topics: Collection[str], writers: Writers) -> str | None:
    state, mine = _state(where), writers.get(table, {})
    if state.damage:
        return f"{where} is damaged: {state.damage}"
    if mine and state.query_id not in mine:
        return f"{table} holds data but its checkpoint {where} is gone or another's"
    last_in = max((batches.get(state.query_id, -1) for batches in writers.values()), default=-1)
    if last_in > state.planned:
        return f"{where} is older than {table}: batch {last_in} is in, batch {state.planned} is its last"
    entered = writers.get(INGEST_BATCHES.path, {}).get(state.query_id, -1)
    if state.committed > entered:
        return f"{where} is newer than the lake: batch {state.committed} is its last, batch {entered} is in"
    if state.planned >= 0 and set(state.reads) != set(topics):
        came, went = (sorted(set(one) - set(other)) for one, other in ((topics, state.reads), (state.reads, topics)))
        changed = [f"{what} {', '.join(names)}" for what, names in (("without", came), ("with", went)) if names]
        return f"{where} was begun {' and '.join(changed)}, so Spark would not go on with it"
    return None


def _state(where: Place) -> _State:
    metadata = where / _METADATA
    if not metadata.exists():
        return _State()
    try:
        query_id = str(_parsed(metadata.text(), _METADATA)["id"])
        planned, offsets = _newest(where / "offsets", "offsets")
        committed, _ = _newest(where / "commits", "commits")
    except (OSError, ValueError, KeyError, TypeError) as error:
        return _State(damage=str(error))
    if committed > planned:
        return _State(damage=f"batch {committed} was committed and its offsets are gone")
    return _State(query_id, planned, committed, tuple(offsets))


def _newest(log: Place, name: str) -> tuple[int, dict[str, Any]]:
    """The last batch of a checkpoint's log, and the last line of its entry; -1 and nothing in an empty one."""
    last, content = max(_numbers(log), default=-1), {}
    if last >= 0:
        _, *entries = (log / str(last)).text().splitlines()
        if not entries:
            raise ValueError(f"{name}/{last} is cut short")
        for entry in entries:
            content = _parsed(entry, f"{name}/{last}")
    return last, content


def _numbers(log: Place) -> list[int]:
    return [int(entry.base_name) for entry in log.files() if entry.base_name.isdigit()]


def _parsed(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise ValueError(f"{name} is cut short") from None
