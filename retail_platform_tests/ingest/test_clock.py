"""A machine whose clock is wrong: the stream's memory of events goes by it, and by a watermark that never goes back."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from retail_platform.contracts import BRONZE_EVENTS, TRANSACTIONS
from retail_platform.lakehouse import quality
from retail_platform.lakehouse.checkpoints import checkpoint
from retail_platform.settings import Settings
from retail_platform_tests.ingest.running import StreamFailed, deliver, drain, message, rows, sale
from retail_platform_tests.ingest.test_crash import dying
from retail_platform_tests.ingest.test_recover import recover

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

LINES = TRANSACTIONS.silver_table


def clock_was_ahead(settings: Settings, ahead: dt.timedelta) -> None:
    """Leave the checkpoint as a last batch would have left it whose machine's clock was ``ahead`` of the one now."""
    commits = Path(checkpoint(settings, LINES.path).path) / "commits"
    newest = max((path for path in commits.iterdir() if path.name.isdigit()), key=lambda path: int(path.name))
    version, metadata = newest.read_text().split("\n", 1)
    horizon = dt.timedelta(minutes=settings.ingest_dedupe_horizon_minutes)
    watermark = dt.datetime.now(dt.UTC) + ahead - horizon
    told = json.loads(metadata) | {"nextBatchWatermarkMs": int(watermark.timestamp() * 1000)}
    newest.write_text(f"{version}\n{json.dumps(told)}")
    newest.with_name(f".{newest.name}.crc").unlink(missing_ok=True)


def clock_is_behind(settings: Settings, behind: dt.timedelta) -> None:
    """Have the batch that is yet to be finished planned by a machine whose clock is ``behind`` of the one now."""
    (planned,) = (Path(checkpoint(settings, LINES.path).path) / "offsets").glob("[0-9]")
    version, metadata, offsets = planned.read_text().split("\n", 2)
    moment = dt.datetime.now(dt.UTC) - behind
    told = json.loads(metadata) | {"batchTimestampMs": int(moment.timestamp() * 1000)}
    planned.write_text(f"{version}\n{json.dumps(told)}\n{offsets}")
    planned.with_name(f".{planned.name}.crc").unlink(missing_ok=True)


def silver_events(settings: Settings) -> int:
    return int(rows(settings, LINES, "select count(distinct event_id) from t")[0][0])


def planned_and_cut_short(spark: SparkSession, settings: Settings) -> dict[str, Any]:
    """A sale whose batch has been planned, the first of all, and has written nothing: the next start runs it again."""
    known = sale()
    deliver(settings, [message(known)])
    with pytest.raises(StreamFailed, match="before silver"):
        drain(spark, settings, dying(LINES, after=False))
    return known


def two_more_and_twins_of(known: dict[str, Any], spark: SparkSession, settings: Settings) -> None:
    """The next two batches bring a sale each, and the known one again: silver comes to three events, each once."""
    for _ in range(2):
        deliver(settings, [message(sale()), message(known)])
        drain(spark, settings)
    assert silver_events(settings) == 3
    assert quality.duplicate_keys(settings, LINES, None) == []


def test_a_clock_that_was_a_day_ahead_stops_the_stream_and_a_recovery_loses_nothing(
    spark: SparkSession, lake_settings: Settings
) -> None:
    known = sale()
    deliver(lake_settings, [message(known)])
    drain(spark, lake_settings)
    clock_was_ahead(lake_settings, dt.timedelta(days=1))
    deliver(lake_settings, [message(sale()), message(known)])
    with pytest.raises(StreamFailed, match=r"clock .* back.*retail stream recover --all"):
        drain(spark, lake_settings)
    recover(spark, lake_settings, everything=True)
    drain(spark, lake_settings)

    assert silver_events(lake_settings) == 2
    assert quality.duplicate_keys(lake_settings, LINES, None) == []
    assert rows(lake_settings, BRONZE_EVENTS, "select count(*) from t") == [(3,)]
    found, *_ = quality.balance(lake_settings)
    assert (found.silver, found.duplicates, found.difference) == (2, 1, 0)


def test_a_clock_that_was_ahead_by_less_than_half_of_the_horizon_changes_nothing(
    spark: SparkSession, lake_settings: Settings
) -> None:
    known = sale()
    deliver(lake_settings, [message(known)])
    drain(spark, lake_settings)
    clock_was_ahead(lake_settings, dt.timedelta(minutes=lake_settings.ingest_dedupe_horizon_minutes / 2 - 2))
    two_more_and_twins_of(known, spark, lake_settings)


def test_a_first_batch_by_a_clock_a_day_behind_is_refused_and_its_twins_stay_out_when_the_clock_is_right(
    spark: SparkSession, lake_settings: Settings
) -> None:
    known = planned_and_cut_short(spark, lake_settings)
    clock_is_behind(lake_settings, dt.timedelta(days=1))
    with pytest.raises(StreamFailed, match=r"clock is behind the broker's.*retail stream recover --all"):
        drain(spark, lake_settings)
    recover(spark, lake_settings, everything=True)
    two_more_and_twins_of(known, spark, lake_settings)


def test_a_clock_that_was_behind_by_less_than_half_of_the_horizon_changes_nothing(
    spark: SparkSession, lake_settings: Settings
) -> None:
    known = planned_and_cut_short(spark, lake_settings)
    clock_is_behind(lake_settings, dt.timedelta(minutes=lake_settings.ingest_dedupe_horizon_minutes / 2 - 2))
    drain(spark, lake_settings)
    two_more_and_twins_of(known, spark, lake_settings)


def test_a_horizon_that_was_more_than_doubled_is_refused_because_what_is_remembered_is_too_short_for_it(
    spark: SparkSession, lake_settings: Settings
) -> None:
    deliver(lake_settings, [message(sale())])
    drain(spark, lake_settings.model_copy(update={"ingest_dedupe_horizon_minutes": 10}))
    deliver(lake_settings, [message(sale())])
    drain(spark, lake_settings.model_copy(update={"ingest_dedupe_horizon_minutes": 19}))
    deliver(lake_settings, [message(sale())])
    with pytest.raises(StreamFailed, match=r"more than doubled.*retail stream recover --all"):
        drain(spark, lake_settings.model_copy(update={"ingest_dedupe_horizon_minutes": 60}))
    recover(spark, lake_settings, everything=True)
    drain(spark, lake_settings)

    assert silver_events(lake_settings) == 3
