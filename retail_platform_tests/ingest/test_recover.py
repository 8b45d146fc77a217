"""A checkpoint that is lost, and records that Kafka lost: after the mend nothing is missing, or it is known what is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
import pytest

from retail_platform.contracts import BRONZE_EVENTS, QUARANTINE_EVENTS, SALES_BY_MINUTE, TRANSACTIONS
from retail_platform.contracts.model import Table
from retail_platform.defs import lakehouse
from retail_platform.errors import RetailError
from retail_platform.lakehouse import quality
from retail_platform.lakehouse.checkpoints import checkpoint
from retail_platform.lakehouse.losses import accepted, repairs
from retail_platform.settings import Settings
from retail_platform_tests.ingest.running import StreamFailed, deliver, drain, empty_topics, message, rows, sale
from retail_platform_tests.ingest.test_crash import dying

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from retail_platform.ingest.lake import Lake

LINES = TRANSACTIONS.silver_table
KAFKA_QUERIES = (BRONZE_EVENTS.path, LINES.path)


def recover(spark: SparkSession, settings: Settings, *, everything: bool = False) -> dict[str, object]:
    from retail_platform.ingest.lake import open_lake
    from retail_platform.ingest.recovery import recover

    return recover(open_lake(spark, settings), settings, everything=everything)


def accept_loss(spark: SparkSession, settings: Settings, reason: str | None = None) -> dict[str, object]:
    from retail_platform.ingest.lake import open_lake
    from retail_platform.ingest.recovery import accept_loss

    return accept_loss(open_lake(spark, settings), settings, reason)


def removed(where: Path, _backup: Path) -> None:
    shutil.rmtree(where)


def put_back_from_earlier(where: Path, backup: Path) -> None:
    shutil.rmtree(where)
    shutil.copytree(backup, where)


def truncated(where: Path, _backup: Path) -> None:
    newest = max((path for path in (where / "offsets").iterdir() if path.name.isdigit()), key=lambda path: path.name)
    os.truncate(newest, newest.stat().st_size // 2)


@pytest.mark.parametrize(
    "damages",
    [(truncated, removed), pytest.param((put_back_from_earlier,) * 2, marks=pytest.mark.soak)],
    ids=["truncated and removed", "put back from earlier"],
)
def test_after_a_recovery_nothing_is_lost_and_no_twin_gets_through_that_straddles_the_loss(
    spark: SparkSession, lake_settings: Settings, damages: tuple[Callable[[Path, Path], None], ...]
) -> None:
    twin, years_old, again = sale(), sale(event_time="2013-05-05T10:00:00Z"), sale()
    deliver(lake_settings, [message(twin), message(years_old), message(b"junk")])
    drain(spark, lake_settings)
    backup = lake_settings.retail_home / "backup"
    shutil.copytree(lake_settings.checkpoints_dir, backup)
    deliver(lake_settings, [message(again), message(None)])
    drain(spark, lake_settings, minutes=True)
    for query, damage in zip(KAFKA_QUERIES, damages, strict=True):
        where = Path(checkpoint(lake_settings, query).path)
        damage(where, backup / where.name)
    deliver(lake_settings, [message(twin), message(again), message(years_old), message(sale()), message(b"{")])
    with pytest.raises(RetailError, match="make a new one with `retail stream recover`"):
        drain(spark, lake_settings)
    assert [entry.command for entry in repairs(lake_settings)] == ["retail stream recover"] * 2

    done = recover(spark, lake_settings)

    assert done["queries"] == sorted(KAFKA_QUERIES)
    assert all(Path(path).name.split(".lost-")[0] in path for path in done["aside"])  # type: ignore[attr-defined]
    assert repairs(lake_settings) == []
    drain(spark, lake_settings, minutes=True)
    found, *_ = quality.balance(lake_settings)
    assert (found.bronze, found.silver, found.quarantine, found.duplicates) == (10, 4, 3, 3)
    assert rows(lake_settings, BRONZE_EVENTS, 'select count(distinct ("partition", "offset")) from t') == [(10,)]
    assert rows(lake_settings, LINES, "select count(distinct event_id), count(*) from t") == [(4, 8)]
    assert rows(lake_settings, SALES_BY_MINUTE, "select sum(orders) from t") == [(4,)]


@pytest.mark.soak
def test_a_lost_checkpoint_that_is_found_again_after_the_recovery_is_refused(
    spark: SparkSession, lake_settings: Settings
) -> None:
    deliver(lake_settings, [message(sale())])
    drain(spark, lake_settings, minutes=True)
    for path in lake_settings.checkpoints_dir.iterdir():
        path.rename(path.with_name(f"{path.name}.elsewhere"))
    recover(spark, lake_settings)
    for query in KAFKA_QUERIES:
        where = Path(checkpoint(lake_settings, query).path)
        where.rename(where.with_name(f"{where.name}.new-one"))
        where.with_name(f"{where.name}.elsewhere").rename(where)
    with pytest.raises(RetailError, match="gone or another's"):
        drain(spark, lake_settings)
    # Another recovery, with nothing read since the first; the minute sales begin again too.
    recover(spark, lake_settings)
    deliver(lake_settings, [message(sale())])
    drain(spark, lake_settings, minutes=True)
    assert [entry.difference for entry in quality.balance(lake_settings)] == [0, 0]
    assert rows(lake_settings, SALES_BY_MINUTE, "select sum(orders) from t") == [(2,)]


@pytest.mark.parametrize(
    "points",
    [
        pytest.param(((LINES, True), (BRONZE_EVENTS, True)), marks=pytest.mark.soak),
        ((LINES, True), (BRONZE_EVENTS, False)),
        pytest.param(((LINES, False), (QUARANTINE_EVENTS, True)), marks=pytest.mark.soak),
    ],
    ids=["silver and bronze in", "silver in, bronze not", "quarantine in, silver not"],
)
def test_a_batch_that_was_cut_short_and_its_checkpoint_lost_comes_out_exact(
    spark: SparkSession, lake_settings: Settings, points: tuple[tuple[Table, bool], ...]
) -> None:
    twin, within = sale(), sale()
    deliver(lake_settings, [message(twin), message(b"junk")])
    drain(spark, lake_settings)
    cut_short = [message(sale()), message(twin), message(within, "a"), message(within, "b"), message(within, "c")]
    deliver(lake_settings, [*cut_short, message(None), message(b"[")])

    def prepare(lake: Lake) -> None:
        for table, after in points:
            dying(table, after=after)(lake)  # type: ignore[operator]

    with pytest.raises(StreamFailed):
        drain(spark, lake_settings, prepare)
    for query in KAFKA_QUERIES:
        shutil.rmtree(checkpoint(lake_settings, query).path)
    deliver(lake_settings, [message(within), message(sale())])

    recover(spark, lake_settings)
    drain(spark, lake_settings)

    found, *_ = quality.balance(lake_settings)
    assert (found.bronze, found.silver, found.quarantine, found.duplicates) == (11, 4, 3, 4)
    assert rows(lake_settings, LINES, "select count(distinct event_id), count(*) from t") == [(4, 8)]
    assert rows(lake_settings, QUARANTINE_EVENTS, 'select count(distinct ("partition", "offset")) from t') == [(3,)]
    assert rows(lake_settings, BRONZE_EVENTS, 'select count(distinct ("partition", "offset")) from t') == [(11,)]
    _every_row_of_silver_is_of_a_batch_in_the_ledger(lake_settings)


def _every_row_of_silver_is_of_a_batch_in_the_ledger(settings: Settings) -> None:
    from retail_platform.lakehouse.reading import ledger

    known = {(batch.query_id, batch.batch_id) for batch in ledger(settings)}
    assert set(rows(settings, LINES, "select distinct query_id, batch_id from t")) <= known


@pytest.mark.parametrize(
    ("taken", "written", "in_bronze", "earliest", "expected"),
    [
        (10, 0, 20, 0, (range(0), range(0), range(0), 10)),
        (10, 15, 20, 0, (range(10, 15), range(0), range(0), 15)),
        (10, 15, 12, 0, (range(10, 12), range(12, 15), range(0), 15)),
        (10, 0, 20, 30, (range(10, 20), range(0), range(20, 30), 30)),
        (10, 0, 40, 30, (range(10, 30), range(0), range(0), 30)),
        (10, 35, 0, 30, (range(0), range(30, 35), range(10, 30), 35)),
    ],
    ids=["nothing to do", "cut short", "ahead of bronze", "gone", "gone, in bronze", "gone, in silver"],
)
def test_what_is_left_of_a_batch_is_taken_from_where_it_is_and_only_what_is_nowhere_is_lost(
    taken: int, written: int, in_bronze: int, earliest: int, expected: tuple[range, range, range, int]
) -> None:
    from retail_platform.ingest.recovery import passage

    way = passage(taken, written, in_bronze, earliest)
    assert (way.from_bronze, way.from_kafka, way.lost, way.start) == expected


@pytest.mark.parametrize(
    "ahead",
    [BRONZE_EVENTS, pytest.param(LINES, marks=pytest.mark.soak)],
    ids=["bronze ahead", "silver ahead"],
)
def test_records_that_left_kafka_unread_stop_the_stream_until_their_loss_is_accepted(
    spark: SparkSession, lake_settings: Settings, ahead: Table
) -> None:
    twin = sale()
    deliver(lake_settings, [message(twin, "k"), message(b"junk", "k")])
    drain(spark, lake_settings)
    behind = LINES if ahead is BRONZE_EVENTS else BRONZE_EVENTS
    deliver(lake_settings, [message(sale(), "k"), message(twin, "k"), message(None, "k")])
    with pytest.raises(StreamFailed):
        drain(spark, lake_settings, dying(behind, after=False))  # type: ignore[arg-type]
    deliver(lake_settings, [message(sale(), "k") for _ in range(4)])
    empty_topics(lake_settings)
    deliver(lake_settings, [message(twin, "k"), message(sale(), "k")])
    with pytest.raises(StreamFailed, match="`retail stream accept-loss`"):
        drain(spark, lake_settings)
    assert {entry.command for entry in repairs(lake_settings)} == {"retail stream accept-loss"}
    assert not _check(lake_settings).passed

    done = accept_loss(spark, lake_settings, "a week off")

    # What one of the two had taken is not lost: silver is made up from bronze.
    spans = {entry.hole.query_name: entry.hole.last - entry.hole.first + 1 for entry in accepted(lake_settings)}
    assert spans == {BRONZE_EVENTS.path: 4 if ahead is BRONZE_EVENTS else 7, LINES.path: 4}
    assert len(done["lost"]) == 2  # type: ignore[arg-type]
    assert {entry.reason for entry in accepted(lake_settings)} == {"a week off"}
    assert repairs(lake_settings) == []
    drain(spark, lake_settings)
    found, *_ = quality.balance(lake_settings)
    assert (found.bronze + found.silver_alone, found.silver, found.quarantine) == (7, 3, 2)
    assert (found.silver_alone, found.difference) == (0 if ahead is BRONZE_EVENTS else 3, 0)
    assert rows(lake_settings, LINES, "select count(distinct event_id), count(*) from t") == [(3, 6)]
    told = _check(lake_settings)
    assert told.passed
    assert "a week off" in str(told.metadata["accepted"])


def _check(settings: Settings) -> dg.AssetCheckResult:
    """What the asset check on lost offsets says."""
    checks = lakehouse.build(settings).asset_checks or ()
    (check,) = (each for each in checks if each.check_key.name == "lost_offsets")
    found = check()
    assert isinstance(found, dg.AssetCheckResult)
    return found
