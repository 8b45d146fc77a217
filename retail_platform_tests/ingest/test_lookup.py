"""Where a late event's twin is looked for: everywhere it can be, and in few files."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING

from pyspark.sql import Row
from pyspark.sql import functions as F  # noqa: N812

from retail_platform.contracts import TRANSACTIONS
from retail_platform.ingest.lookup import around, hours_of
from retail_platform.lakehouse.manifest import manifest
from retail_platform.settings import Settings
from retail_platform_tests.ingest.running import deliver, drain, message, rows, sale

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

LINES = TRANSACTIONS.silver_table
MARGIN = dt.timedelta(minutes=15)
DAY = dt.datetime(2026, 3, 2, tzinfo=dt.UTC)


def test_all_times_of_an_events_hour_and_of_the_margin_around_it_are_looked_in_and_no_others(
    spark: SparkSession,
) -> None:
    late = [DAY + dt.timedelta(hours=9, minutes=59, seconds=59), DAY + dt.timedelta(hours=20)]
    tick = dt.timedelta(microseconds=1)
    nine, ten, eight, nine_pm = (DAY + dt.timedelta(hours=hour) for hour in (9, 10, 20, 21))
    inside = [*late, nine - MARGIN, ten + MARGIN - tick, eight - MARGIN, nine_pm + MARGIN - tick]
    outside = [nine - MARGIN - tick, ten + MARGIN, eight - MARGIN - tick, DAY + dt.timedelta(hours=15)]

    def table(times: list[dt.datetime]) -> DataFrame:
        kinds = "event_time timestamp, business_date date"
        return spark.createDataFrame([(time, DAY.date()) for time in times], kinds)

    hours = table(late).agg(hours_of(F.lit(True))).collect()[0]["hours"]
    looked_in = table([*inside, *outside]).where(around(set(hours), MARGIN)).collect()
    assert sorted(row["event_time"].astimezone(dt.UTC) for row in looked_in) == sorted(inside)


def test_hours_side_by_side_are_one_span_and_very_many_apart_are_one_too() -> None:
    def spans(hours: range) -> int:
        return around({Row(business_date=DAY.date(), hour=hour) for hour in hours}, MARGIN).count("event_time >=")

    assert (spans(range(5)), spans(range(0, 100, 2)), spans(range(0, 102, 2))) == (1, 50, 1)


def test_a_late_twin_is_found_without_the_files_of_other_hours(spark: SparkSession, lake_settings: Settings) -> None:
    morning, evening = (sale(event_time=f"2026-03-02T{hour}:30:00Z") for hour in (10, 20))
    deliver(lake_settings, [message(morning)])
    drain(spark, lake_settings)
    of_the_morning = set(manifest(lake_settings, LINES).files)
    deliver(lake_settings, [message(evening)])
    drain(spark, lake_settings)
    (of_the_evening,) = set(manifest(lake_settings, LINES).files) - of_the_morning

    away = Path(of_the_evening).rename(f"{of_the_evening}.away")
    deliver(lake_settings, [message(morning), message(sale(event_time="2026-03-02T10:45:00Z"))])
    drain(spark, lake_settings)
    away.rename(of_the_evening)
    assert rows(lake_settings, LINES, "select count(distinct event_id), count(*) from t") == [(3, 6)]
