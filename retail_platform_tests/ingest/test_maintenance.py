"""OPTIMIZE and VACUUM change files, never rows, and nothing that the stream goes by."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest
from pyspark.sql import functions as F  # noqa: N812
from typer.testing import CliRunner

from retail_platform.cli.app import app
from retail_platform.contracts import (
    ALL_TABLES,
    BRONZE_EVENTS,
    INGEST_BATCHES,
    LOST_OFFSETS,
    SALES_BY_MINUTE,
    TRANSACTIONS,
)
from retail_platform.defs import lakehouse
from retail_platform.defs.execution import prepare_dagster_home
from retail_platform.defs.lakehouse import MAINTENANCE_JOB
from retail_platform.errors import RetailError
from retail_platform.ingest.job import Job
from retail_platform.ingest.lake import open_lake
from retail_platform.ingest.maintenance import compact_today, optimize, vacuum
from retail_platform.lakehouse import quality
from retail_platform.lakehouse.history import Difference, differences, properties, readable, size, versions
from retail_platform.lakehouse.reading import rows_of
from retail_platform.settings import Settings
from retail_platform_tests.ingest.running import deliver, drain, empty_topics, message, rows, sale
from retail_platform_tests.ingest.serving import serving

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

LINES, LINES_NAME = TRANSACTIONS.silver_table, TRANSACTIONS.silver_name
#: Of the lost offsets there is a table only after a loss.
PATHS = [table.path for table in ALL_TABLES if table is not LOST_OFFSETS]
CLOSED = "2014-05-05T10:00:00Z"


@pytest.fixture(scope="module")
def made(broker: Settings, spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A lake with two small files of a closed day, made by two batches."""
    home = tmp_path_factory.mktemp("made") / "home"
    settings = broker.model_copy(update={"retail_home": home, "ingest_trigger_seconds": 0.2})
    empty_topics(settings)
    for last in (False, True):
        deliver(settings, [message(sale(event_time=CLOSED)), message(sale()), message(b"junk")])
        drain(spark, settings, minutes=last)
    return settings


@pytest.fixture
def lake(made: Settings, tmp_path: Path) -> Settings:
    """That lake, in a place of its own; the stream can go on from it as long as Kafka is left alone."""
    shutil.copytree(made.retail_home, tmp_path / "home")
    return made.model_copy(update={"retail_home": tmp_path / "home"})


@pytest.mark.soak
def test_the_nightly_job_has_the_writer_do_it_and_the_stream_goes_on_with_nothing_lost_and_nothing_twice(
    spark: SparkSession, lake: Settings
) -> None:
    columns = ", ".join(f'"{name}"' for name in LINES.column_names)
    everything = f"select {columns} from t order by event_id, line_number"
    before, old = rows(lake, LINES, everything), versions(lake, LINES, 1)[0].version
    known = {table.table.path: dict(table.writers) for table in open_lake(spark, lake).tables}

    metadata = _nightly(spark, lake)

    assert metadata["done by"].value == "the running stream"
    found = {record.data["table"]: record.data for record in metadata["tables"].records}
    assert set(found) == set(PATHS)
    assert (found[LINES.path]["files before"], found[LINES.path]["files after"]) == (4, 3)
    assert found[LINES.path]["files on disk after"] == 5, "the two that were compacted are within the history"
    assert found[INGEST_BATCHES.path]["files after"] == 1
    assert found[INGEST_BATCHES.path]["bytes after"] < found[INGEST_BATCHES.path]["bytes before"]
    assert rows(lake, LINES, everything) == before
    assert rows_of(readable(lake, LINES, old), everything) == before, "a version within the history is readable"
    assert {table.table.path: table.writers for table in open_lake(spark, lake).tables} == known
    twin = sale(event_time=CLOSED)
    deliver(lake, [message(twin), message(twin), message(sale(event_time=CLOSED))])
    drain(spark, lake, minutes=True)
    assert len(rows(lake, LINES, everything)) == len(before) + 4
    assert not any(entry.difference for entry in quality.balance(lake))
    assert quality.duplicate_keys(lake, LINES, None) == []
    assert rows(lake, SALES_BY_MINUTE, "select sum(orders) from t") == [(6,)]


def _nightly(spark: SparkSession, lake: Settings) -> Mapping[str, Any]:
    """Run the job beside a writer that answers requests; the metadata of its step."""
    prepare_dagster_home(lake)
    with dg.DagsterInstance.get() as instance, serving(spark, lake):
        result = lakehouse.build(lake).resolve_job_def(MAINTENANCE_JOB).execute_in_process(instance=instance)
    (output,) = [event for event in result.all_events if event.event_type_value == "STEP_OUTPUT"]
    return output.step_output_data.metadata


def test_vacuum_deletes_what_is_older_than_the_history_and_a_reader_is_told(
    spark: SparkSession, lake: Settings
) -> None:
    opened = open_lake(spark, lake)
    optimize(opened, lake, [LINES.path])
    before, newest = size(lake, LINES), versions(lake, LINES, 1)[0].version
    vacuum(opened, lake, [LINES.path])
    assert size(lake, LINES).files_on_disk == before.files_on_disk, "all of it is younger than the history"
    assert properties(lake, LINES)["delta.deletedFileRetentionDuration"] == "interval 7 days"

    past = lake.model_copy(update={"lake_history_days": 0})
    vacuum(opened, past, [LINES.path])

    after = size(lake, LINES)
    assert after.files_on_disk == after.files == before.files
    with pytest.raises(RetailError, match=f"files of version {newest - 1} are gone: VACUUM keeps LAKE_HISTORY_DAYS"):
        readable(lake, LINES, newest - 1)
    assert rows(lake, LINES, "select count(*) from t") == [(8,)]


def test_the_files_of_today_are_left_to_the_stream_which_compacts_them_itself(
    spark: SparkSession, lake: Settings
) -> None:
    def files() -> int:
        return len([path for path in readable(lake, LINES, None).files if f"business_date={today}" in path])

    today = max(row[0] for row in rows(lake, LINES, "select distinct business_date from t"))
    if today != dt.datetime.now(dt.UTC).date():
        pytest.skip("midnight has just passed")
    before = files()
    optimize(open_lake(spark, lake), lake, [LINES.path])
    assert files() == before == 2

    everything = "select event_id, line_number, net_amount from t order by 1, 2"
    opened, held = open_lake(spark, lake), rows(lake, LINES, everything)
    compact_today(opened, lake)
    assert files() == 1
    assert rows(lake, LINES, everything) == held
    assert {table.table.path: table.writers for table in open_lake(spark, lake).tables} == {
        table.table.path: table.writers for table in opened.tables
    }


def test_a_long_log_gets_a_checkpoint_from_the_job_of_which_spark_and_all_others_read_the_same(
    spark: SparkSession, lake: Settings
) -> None:
    everything = "select event_id, line_number, net_amount from t order by 1, 2"
    held, writers = rows(lake, LINES, everything), dict(open_lake(spark, lake).silver[LINES_NAME].writers)
    opened = open_lake(spark, lake)
    silver = opened.silver[LINES_NAME]
    silver.set_properties({"retail.test": "a commit by Spark"})
    silver.commits_since_checkpoint = 100
    said: list[str] = []
    job = Job(lake, "available_now", said.append)
    job._serve(opened)
    job._worker.shutdown(wait=True)

    log = lake.lake_dir / LINES.path / "_delta_log"
    newest = versions(lake, LINES, 1)[0].version
    assert [path.name for path in log.glob("*.checkpoint.parquet")] == [f"{newest:020}.checkpoint.parquet"]
    assert not list((lake.lake_dir / INGEST_BATCHES.path / "_delta_log").glob("*.checkpoint.parquet"))
    assert not said
    assert not any(table.log_is_long for table in opened.tables)
    for older in log.glob("*.json"):  # so that the checkpoint is all there is to read from
        if int(older.stem) < newest:
            older.unlink()
    spark._jvm.org.apache.spark.sql.delta.DeltaLog.clearCache()  # type: ignore[union-attr]
    assert rows(lake, LINES, everything) == held
    again = open_lake(spark, lake).silver[LINES_NAME]
    assert again.writers == writers
    assert again.read().count() == len(held)
    assert len(again.read().where(F.col("event_time") <= F.lit(CLOSED).cast("timestamp")).inputFiles()) == 2
    assert properties(lake, LINES)["retail.test"] == "a commit by Spark"


def test_compaction_is_no_difference_and_added_and_removed_rows_are_counted_by_day(
    spark: SparkSession, lake: Settings
) -> None:
    first = versions(lake, LINES, 1)[0].version
    opened = open_lake(spark, lake)
    optimize(opened, lake, [LINES.path])
    compacted = versions(lake, LINES, 1)[0].version
    assert differences(lake, LINES, first, compacted) == []
    silver = opened.silver[LINES.name]
    kept = silver.read().where("business_date = date'2014-05-05' and line_number = 1").persist()
    silver.replace(kept, "business_date = date'2014-05-05'")
    silver.replace(kept.withColumn("business_date", F.lit(dt.date(2015, 1, 1))), "business_date = date'2015-01-01'")
    last = versions(lake, LINES, 1)[0].version
    assert differences(lake, LINES, first, last) == [
        Difference("business_date=2014-05-05", 0, 2),
        Difference("business_date=2015-01-01", 2, 0),
    ]
    assert sum(entry.removed for entry in differences(lake, LINES, last, first)) == 2
    assert sum(
        entry.added for entry in differences(lake, BRONZE_EVENTS, 0, versions(lake, BRONZE_EVENTS, 1)[0].version)
    )


def test_nothing_is_done_unless_it_is_wanted(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    from retail_platform.cli import lake as command

    monkeypatch.setattr(command, "get_settings", lambda: settings)
    asked = CliRunner().invoke(app, ["lake", "vacuum"])
    assert isinstance(asked.exception, RetailError)
    assert "there is no lake" in str(asked.exception)
    settings.lake_dir.mkdir(parents=True)
    asked = CliRunner().invoke(app, ["lake", "vacuum", LINES.path], input="n\n")
    assert asked.exit_code == 1
    assert "older than 7 days (LAKE_HISTORY_DAYS)" in " ".join(asked.stderr.split())
    assert list(settings.lake_dir.iterdir()) == []
