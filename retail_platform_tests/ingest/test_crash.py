"""A driver that dies at a named point of a batch: after the next start nothing is lost and nothing is there twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from retail_platform.contracts import BRONZE_EVENTS, INGEST_BATCHES, QUARANTINE_EVENTS, TRANSACTIONS
from retail_platform.contracts.model import Table
from retail_platform.lakehouse import quality
from retail_platform.lakehouse.delta import Batch, LakeTable
from retail_platform.settings import Settings
from retail_platform_tests.ingest.running import StreamFailed, deliver, drain, message, rows, sale

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from retail_platform.ingest.lake import Lake

LINES = TRANSACTIONS.silver_table


class Died(Exception):
    """Stands for the driver's death: nothing after it happens."""


def dying(table: Table, *, after: bool) -> object:
    """What makes the driver die before or after its next write to a table."""

    def prepare(lake: Lake) -> None:
        (doomed,) = (entry for entry in lake.tables if entry.table.path == table.path)
        write = doomed.append

        def append(data: DataFrame, batch: Batch) -> None:
            if after:
                write(data, batch)
            raise Died(f"{'after' if after else 'before'} {table.path}")

        doomed.append = append  # type: ignore[method-assign]

    return prepare


@pytest.mark.parametrize(
    ("table", "after"),
    [(BRONZE_EVENTS, True), (LINES, False), (LINES, True), (QUARANTINE_EVENTS, True), (INGEST_BATCHES, True)],
    ids=lambda value: value.path if isinstance(value, Table) else ("after" if value else "before"),
)
def test_a_batch_that_was_cut_short_is_finished_by_the_next_start(
    spark: SparkSession, lake_settings: Settings, table: Table, after: bool
) -> None:
    twin, years_old = sale(), sale(event_time="2013-05-05T10:00:00Z")
    deliver(lake_settings, [message(sale()), message(twin), message(years_old), message(b"junk")])
    drain(spark, lake_settings)
    deliver(lake_settings, [message(sale()), message(twin), message(years_old), message(None), message(sale())])
    with pytest.raises(StreamFailed, match=f"{'after' if after else 'before'} {table.path}"):
        drain(spark, lake_settings, dying(table, after=after))  # type: ignore[arg-type]
    drain(spark, lake_settings)

    found, *_ = quality.balance(lake_settings)
    assert (found.bronze, found.silver, found.quarantine, found.duplicates) == (9, 5, 2, 2)
    assert quality.duplicate_keys(lake_settings, LINES, None) == []
    assert rows(lake_settings, BRONZE_EVENTS, 'select count(distinct ("partition", "offset")) from t') == [(9,)]
    assert rows(lake_settings, QUARANTINE_EVENTS, "select count(*) from t") == [(2,)]


def test_the_newest_commit_of_every_table_names_the_last_batch(spark: SparkSession, lake_settings: Settings) -> None:
    from retail_platform.ingest.lake import open_lake

    deliver(lake_settings, [message(sale()), message(b"junk")])
    drain(spark, lake_settings)
    lake = open_lake(spark, lake_settings)
    silver: LakeTable = lake.silver[TRANSACTIONS.silver_name]
    assert list(silver.writers.values()) == [0]
    assert set(silver.writers) == set(lake.quarantine.writers)
    assert set(lake.ledger.table.writers) >= {*silver.writers, *lake.bronze.writers}
