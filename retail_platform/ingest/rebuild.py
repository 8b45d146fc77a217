"""Silver days derived again from bronze: the same events as the stream wrote, with the same provenance.

Only what the stream has taken is read from bronze (up to its last batch's offsets), so a rebuilt day neither runs ahead
of the stream nor falls behind it, and the stream goes on from where it was.
"""

from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812

from retail_platform.contracts import TRANSACTIONS
from retail_platform.contracts.model import TopicContract
from retail_platform.errors import RetailError
from retail_platform.ingest.lake import Lake
from retail_platform.ingest.stream import calendar
from retail_platform.ingest.transforms import first_delivery, sales_by_minute, silver_rows, validated
from retail_platform.settings import Settings

_BRONZE_WAIT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Taken:
    """The offsets of one partition that one batch took: ``start`` included, ``end`` not."""

    partition: int
    start: int
    end: int
    query_id: str
    batch_id: int


def rebuild_silver(lake: Lake, settings: Settings, contract: TopicContract, dates: Sequence[dt.date]) -> dict[str, Any]:
    """Replace the silver rows of ``dates`` by what bronze holds for them: ``{"rows_before", "rows_after", "version"}``.

    Raises:
        RetailError: silver's last batch is unfinished, or bronze is behind silver: the stream must run first.
    """
    silver = lake.silver_of(contract)
    with silver.between_batches:
        taken = _taken(lake, contract)
        _wait_for_bronze(lake, contract, taken)
        here = F.col("business_date").isin(list(dates))
        before = silver.read().where(here).count()
        rows = _derived(lake, settings, contract, dates, taken).persist()
        try:
            after = rows.count()
            silver.replace(rows, _in(dates))
        finally:
            rows.unpersist()
    return {"rows_before": before, "rows_after": after}


def rebuild_minutes(lake: Lake, dates: Sequence[dt.date]) -> dict[str, Any]:
    """Replace the minute sales of ``dates`` by sums over silver: ``{"rows_after"}``."""
    with lake.minutes.between_batches:
        lines = lake.silver[TRANSACTIONS.silver_name].read().where(F.col("business_date").isin(list(dates)))
        rows = sales_by_minute(lines).persist()
        try:
            after = rows.count()
            lake.minutes.replace(rows, _in(dates))
        finally:
            rows.unpersist()
    return {"rows_after": after}


def _derived(
    lake: Lake, settings: Settings, contract: TopicContract, dates: Sequence[dt.date], taken: Sequence[Taken]
) -> DataFrame:
    spark = lake.bronze.spark
    # An event cannot have been appended before its own time, but for the clocks' tolerance.
    earliest = min(dates) - dt.timedelta(days=1)
    records = lake.bronze.read().where((F.col("topic") == contract.topic) & (F.col("ingest_date") >= F.lit(earliest)))
    # Before the first delivery is chosen: a twin that the stream has yet to take must not stand in for one it took.
    records = records.where(_taken_already(taken))
    batches = spark.createDataFrame(
        [(entry.partition, entry.start, entry.end, entry.query_id, entry.batch_id) for entry in taken],
        "p int, first bigint, past bigint, query_id string, batch_id bigint",
    )
    mine = (F.col("partition") == F.col("p")) & (F.col("offset") >= F.col("first")) & (F.col("offset") < F.col("past"))
    valid = validated(records.drop("query_id", "batch_id"), contract, calendar(settings)).where("reasons is null")
    once = first_delivery(valid).where(F.col("business_date").isin(list(dates)))
    return silver_rows(once.join(F.broadcast(batches), mine), contract)


def _taken_already(taken: Sequence[Taken]) -> str:
    ends = _ends(taken)
    return " or ".join(f"(partition = {partition} and offset < {end})" for partition, end in ends.items()) or "false"


def _ends(taken: Sequence[Taken]) -> dict[int, int]:
    ends: dict[int, int] = {}
    for entry in taken:
        ends[entry.partition] = max(ends.get(entry.partition, 0), entry.end)
    return ends


def _taken(lake: Lake, contract: TopicContract) -> list[Taken]:
    """What each batch of the topic's silver query took."""
    silver = lake.silver_of(contract)
    rows = lake.ledger.table.read().where(F.col("query_name") == silver.table.path).collect()
    finished = {
        query: max(row["batch_id"] for row in rows if row["query_id"] == query)
        for query in {r["query_id"] for r in rows}
    }
    for query, batch in silver.writers.items():
        if batch > finished.get(query, -1):
            raise RetailError(
                f"{silver.table.path}: batch {batch} was cut short; run the stream once (`retail stream drain`), then rebuild"
            )
    taken = []
    for row in rows:
        start = json.loads(row["start_offsets"]).get(contract.topic, {})
        for partition, end in json.loads(row["end_offsets"]).get(contract.topic, {}).items():
            taken.append(Taken(int(partition), start.get(partition, 0), end, row["query_id"], row["batch_id"]))
    return taken


def _wait_for_bronze(lake: Lake, contract: TopicContract, taken: Sequence[Taken]) -> None:
    """The bronze query runs on its own; what silver took must be in bronze before silver is derived from it."""
    needed = _ends(taken)
    deadline = time.monotonic() + _BRONZE_WAIT_SECONDS
    while True:
        rows = lake.ledger.table.read().where(F.col("query_name") == lake.bronze.table.path).select("end_offsets")
        reached: dict[int, int] = {}
        for row in rows.collect():
            for partition, end in json.loads(row["end_offsets"]).get(contract.topic, {}).items():
                reached[int(partition)] = max(reached.get(int(partition), 0), end)
        if all(reached.get(partition, 0) >= end for partition, end in needed.items()):
            return
        if time.monotonic() > deadline:
            raise RetailError(
                f"bronze is behind {contract.silver_table.path}; run the stream once (`retail stream drain`), then rebuild"
            )
        time.sleep(0.5)


def _in(dates: Sequence[dt.date]) -> str:
    return f"business_date in ({', '.join(f'date{str(date)!r}' for date in dates)})"
