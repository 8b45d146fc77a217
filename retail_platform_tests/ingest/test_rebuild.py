"""A silver day derived again from bronze is the day that the stream wrote."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pytest

from retail_platform.contracts import SALES_BY_MINUTE, TRANSACTIONS
from retail_platform.errors import RetailError
from retail_platform.lakehouse import quality
from retail_platform.producer import online_retail
from retail_platform.settings import Settings
from retail_platform_tests.ingest.running import deliver, drain, message, rows, sale

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

LINES = TRANSACTIONS.silver_table
DAYS = [dt.date(2010, 12, 1), dt.date(2010, 12, 2)]


def _work(spark: SparkSession, settings: Settings, work: str, **arguments: object) -> dict[str, object]:
    from retail_platform.ingest.lake import open_lake
    from retail_platform.ingest.work import do_work

    return do_work(open_lake(spark, settings), settings, work, arguments)


def test_a_rebuilt_day_equals_what_the_stream_wrote_and_the_other_days_stay(
    spark: SparkSession, lake_settings: Settings
) -> None:
    sample = online_retail.messages(online_retail.read(online_retail.sample_file()))[:400]
    deliver(lake_settings, [*sample, *sample[:50], message(b"junk")])
    drain(spark, lake_settings, minutes=True)
    columns = ", ".join(f'"{column}"' for column in LINES.column_names)
    everything = f"select {columns} from t order by event_id, line_number"
    before, minutes = (
        rows(lake_settings, LINES, everything),
        rows(lake_settings, SALES_BY_MINUTE, "select sum(orders) from t"),
    )

    damaged = _damage(spark, lake_settings, DAYS[0])
    assert damaged > 0
    assert len(rows(lake_settings, LINES, everything)) == len(before) - damaged
    result = _work(spark, lake_settings, "rebuild_silver", table=LINES.name, dates=[date.isoformat() for date in DAYS])

    assert rows(lake_settings, LINES, everything) == before
    assert result["rows_after"] == result["rows_before"] + damaged  # type: ignore[operator]
    assert rows(lake_settings, SALES_BY_MINUTE, "select sum(orders) from t") == minutes
    assert all(entry.difference == 0 for entry in quality.balance(lake_settings))
    deliver(lake_settings, [*sample[:20], message(sale())])
    drain(spark, lake_settings)
    assert len(rows(lake_settings, LINES, everything)) == len(before) + 2


def test_a_rebuild_does_not_run_ahead_of_a_stream_that_has_not_taken_the_events_yet(
    spark: SparkSession, lake_settings: Settings
) -> None:
    from retail_platform.ingest.lake import open_lake

    deliver(lake_settings, [message(sale(event_time="2010-12-01T10:00:00Z"))])
    drain(spark, lake_settings)
    lake = open_lake(spark, lake_settings)
    silver = lake.silver[TRANSACTIONS.silver_name]
    (query,) = silver.writers
    silver.writers[query] += 1  # as after a crash between silver's write and the ledger's
    from retail_platform.ingest.rebuild import rebuild_silver

    with pytest.raises(RetailError, match="batch 1 was cut short; run the stream once"):
        rebuild_silver(lake, lake_settings, lake_settings.topics[0], DAYS)


def _damage(spark: SparkSession, settings: Settings, date: dt.date) -> int:
    """Take the lines of some events of a date out of silver, as a bad rule would have."""
    from retail_platform.ingest.lake import open_lake

    silver = open_lake(spark, settings).silver[TRANSACTIONS.silver_name]
    here = silver.read().where(f"business_date = date'{date}'")
    kept = here.where("quantity < 10").persist()
    lost = here.count() - kept.count()
    silver.replace(kept, f"business_date = date'{date}'")
    kept.unpersist()
    return lost
