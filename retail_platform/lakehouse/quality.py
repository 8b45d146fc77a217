"""What must hold of the lake, computed from the tables themselves: contract, uniqueness, balance, quarantine rate.

Plain functions with plain results; that they are Dagster checks is decided in ``defs/``.
"""

from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from retail_platform.contracts import BRONZE_EVENTS, QUARANTINE_EVENTS
from retail_platform.contracts.model import Table, TopicContract
from retail_platform.lakehouse.location import open_delta
from retail_platform.lakehouse.losses import accepted, lost
from retail_platform.lakehouse.manifest import manifest
from retail_platform.lakehouse.reading import ends_of, ledger, rows_of
from retail_platform.settings import Settings

_BRONZE_WAIT_SECONDS = 30.0
_SPARK_TYPES = {"integer": "int", "long": "bigint"}


def contract_differences(settings: Settings, table: Table) -> list[str]:
    """Where the Delta table's columns differ from its contract, one sentence each."""
    fields = {field.name: field for field in open_delta(settings, table).schema().fields}
    found = [f"{name} is not in the contract" for name in fields if name not in table.column_names]
    for column in table.columns:
        field = fields.get(column.name)
        if field is None:
            found.append(f"{column.name} is missing")
        elif (kind := _spark_type(json.loads(field.type.to_json()))) != column.type.spark:
            found.append(f"{column.name} is {kind}, the contract says {column.type.spark}")
    return found


def _spark_type(kind: Any) -> str:
    """A type of the Delta schema, as Spark spells it."""
    if isinstance(kind, str):
        return _SPARK_TYPES.get(kind, kind)
    if kind["type"] == "array":
        return f"array<{_spark_type(kind['elementType'])}>"
    return f"struct<{','.join(field['name'] + ':' + _spark_type(field['type']) for field in kind['fields'])}>"


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Keys that occur more than once on a business date, and one of them to look at."""

    business_date: dt.date
    keys: int
    example: str


def duplicate_keys(settings: Settings, table: Table, dates: Sequence[dt.date] | None) -> list[Duplicates]:
    """The business dates on which ``table`` holds a key twice."""
    key = ", ".join(table.key)
    text = " || '/' || ".join(f"cast({column} as varchar)" for column in table.key)
    found = rows_of(
        manifest(settings, table, dates),
        f"select business_date, count(*), min({text}) from "
        f"(select business_date, {key} from t group by all having count(*) > 1) group by 1 order by 1",
    )
    return [Duplicates(*row) for row in found]


@dataclass(frozen=True, slots=True)
class TopicBalance:
    """A topic's records up to the offsets that its silver query has finished with.

    ``silver_alone`` are those that only silver's query took: the others had left Kafka before bronze's came to them, and
    that loss was accepted.
    """

    topic: str
    bronze: int
    silver: int
    quarantine: int
    duplicates: int
    silver_alone: int = 0

    @property
    def difference(self) -> int:
        """Records that bronze has and nothing accounts for; negative when silver and quarantine have more."""
        return self.bronze + self.silver_alone - self.silver - self.quarantine - self.duplicates


def balance(settings: Settings) -> list[TopicBalance]:
    """For each topic: bronze = silver events + quarantine + duplicates dropped, counted in the tables.

    Raises:
        RetailError: the stream never ran.
    """
    batches, losses = ledger(settings), accepted(settings)
    found = []
    for contract in settings.topics:
        query, topic = contract.silver_table.path, contract.topic
        ends = ends_of(batches, query, topic)
        _wait_for_bronze(settings, topic, ends)
        no_bronze, nothing = (lost(losses, name, topic) for name in (BRONZE_EVENTS.path, query))
        counted = f"{_below(ends)} and not {_within(nothing)}"
        found.append(
            TopicBalance(
                topic,
                bronze=_count(settings, BRONZE_EVENTS, topic, counted),
                silver=_events(settings, contract, counted),
                quarantine=_count(settings, QUARANTINE_EVENTS, topic, counted),
                duplicates=sum(batch.duplicates for batch in batches if batch.query_name == query),
                # What silver's query lost, bronze's lost too: it is made up from bronze where bronze has it.
                silver_alone=_size(no_bronze, ends) - _size(nothing, ends),
            )
        )
    return found


@dataclass(frozen=True, slots=True)
class QuarantineRate:
    """Refused records of a topic among those taken in the window."""

    topic: str
    taken: int
    refused: int

    @property
    def rate(self) -> float:
        """Share of the records that were refused, 0 to 1."""
        return self.refused / self.taken if self.taken else 0.0


def quarantine_rates(settings: Settings, window: dt.timedelta) -> list[QuarantineRate]:
    """How many of each topic's records were refused among the last ``window``'s batches."""
    batches = ledger(settings, dt.datetime.now(dt.UTC) - window)
    found = []
    for contract in settings.topics:
        mine = [batch for batch in batches if batch.query_name == contract.silver_table.path]
        found.append(
            QuarantineRate(contract.topic, sum(batch.rows_in for batch in mine), sum(batch.refused for batch in mine))
        )
    return found


def _wait_for_bronze(settings: Settings, topic: str, ends: dict[int, int]) -> None:
    """Bronze may be a batch behind silver while the stream runs; what is still missing after that is a difference."""
    deadline = time.monotonic() + _BRONZE_WAIT_SECONDS
    while time.monotonic() < deadline:
        reached = ends_of(ledger(settings), BRONZE_EVENTS.path, topic)
        if all(reached.get(partition, 0) >= end for partition, end in ends.items()):
            return
        time.sleep(0.5)


def _below(ends: dict[int, int]) -> str:
    cases = " or ".join(f'("partition" = {partition} and "offset" < {end})' for partition, end in ends.items())
    return f"({cases or 'false'})"


def _within(ranges: Mapping[int, Sequence[range]]) -> str:
    cases = " or ".join(
        f'("partition" = {partition} and "offset" between {each.start} and {each.stop - 1})'
        for partition, found in ranges.items()
        for each in found
    )
    return f"({cases or 'false'})"


def _size(ranges: Mapping[int, Sequence[range]], ends: Mapping[int, int]) -> int:
    """How many offsets of the ranges are below ``ends``. Each is a record where the topic is not written in transactions."""
    return sum(
        len(range(each.start, max(each.start, min(each.stop, ends.get(partition, 0)))))
        for partition, found in ranges.items()
        for each in found
    )


def _count(settings: Settings, table: Table, topic: str, counted: str) -> int:
    found = rows_of(manifest(settings, table), f"select count(*) from t where topic = ? and {counted}", [topic])
    return int(found[0][0]) if found else 0


def _events(settings: Settings, contract: TopicContract, counted: str) -> int:
    first_lines = "line_number = 1" if contract.lines is not None else "true"
    found = rows_of(
        manifest(settings, contract.silver_table), f"select count(*) from t where {first_lines} and {counted}"
    )
    return int(found[0][0]) if found else 0
