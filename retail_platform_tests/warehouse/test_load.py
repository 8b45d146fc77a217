import datetime as dt
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from decimal import Decimal
from types import SimpleNamespace

import duckdb
import pytest

from retail_platform.contracts import INGEST_BATCHES, WAREHOUSE_TABLES
from retail_platform.errors import RetailError
from retail_platform.lakehouse.location import open_delta
from retail_platform.lakehouse.manifest import GAINED_COLUMNS, manifest
from retail_platform.settings import Settings
from retail_platform.warehouse import LoadResult, open_warehouse, sql
from retail_platform_tests.warehouse.silver import (
    COMMITTED,
    LINES,
    Row,
    batch,
    line,
    replace_day,
    without,
    write,
    write_lake,
)

FIRST, SECOND, THIRD = (dt.date(2010, 12, day) for day in (1, 2, 3))


def load(settings: Settings, dates: Sequence[dt.date] | None = None) -> LoadResult:
    return open_warehouse(settings).load(manifest(settings, LINES, dates), "run-1")


def raw(settings: Settings, columns: str = "event_id", table: str = "transaction_lines") -> list[Row]:
    return open_warehouse(settings).query(f"select {columns} from raw.{table} order by all").to_pylist()


def changes(result: LoadResult) -> tuple[int, int, int]:
    return result.inserted, result.updated, result.deleted


def test_a_load_brings_every_row_and_says_what_it_did(settings: Settings) -> None:
    write_lake(settings, [line("a", FIRST), line("a", FIRST, 2, quantity=3), line("b", SECOND)])
    result = load(settings)
    assert (result.table, result.delta_version, result.rows) == ("silver/transaction_lines", 0, 3)
    assert changes(result) == (3, 0, 0)
    assert [(date.business_date, date.rows, date.sums["net_amount"]) for date in result.dates] == [
        (FIRST, 2, Decimal("40.0000")),
        (SECOND, 1, Decimal("10.0000")),
    ]


def test_values_arrive_as_the_contract_types_them(settings: Settings) -> None:
    price = Decimal("12345678901234.5678")
    write_lake(settings, [line("a", FIRST, unit_price=price, latitude=51.5)])
    load(settings)
    row = raw(settings, "*")[0]
    assert list(row) == list(LINES.column_names)
    assert row["unit_price"] == price
    assert row["append_time"] == (COMMITTED - dt.timedelta(milliseconds=500)).replace(tzinfo=None)
    assert row["business_date"] == FIRST
    assert row["region"] is None


def test_a_column_that_the_contract_has_gained_is_added_and_null_in_what_was_there(settings: Settings) -> None:
    older = without(LINES, "region")
    write(settings, older, [line("a", FIRST)])
    open_delta(settings, older).alter.set_table_properties({GAINED_COLUMNS: "true"}, raise_if_not_exists=False)
    settings.warehouse_path.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(settings.warehouse_path) as connection:
        connection.execute("create schema raw")
        connection.execute(sql.create_table(older, "duckdb"))
    load(settings)
    write(settings, LINES, [line("b", SECOND, region="North", latitude=51.5)], schema_mode="merge")
    load(settings)
    assert raw(settings, "event_id, region, latitude") == [
        {"event_id": "a", "region": None, "latitude": None},
        {"event_id": "b", "region": "North", "latitude": 51.5},
    ]
    assert open_warehouse(settings).reconcile(LINES, [FIRST, SECOND]) == []


def test_loading_a_version_again_changes_nothing(settings: Settings) -> None:
    write_lake(settings, [line("a", FIRST, region=None), line("b", SECOND)])
    load(settings)
    before = raw(settings, "*")
    assert changes(load(settings)) == (0, 0, 0)
    assert raw(settings, "*") == before


def test_only_the_dates_asked_are_touched(settings: Settings) -> None:
    write_lake(settings, [line("a", FIRST), line("b", SECOND)])
    assert changes(load(settings, [FIRST])) == (1, 0, 0)
    replace_day(settings, LINES, FIRST, [])
    replace_day(settings, LINES, SECOND, [])
    load(settings, [SECOND])
    assert [row["event_id"] for row in raw(settings)] == ["a"]


def test_a_day_derived_again_loses_updates_and_gains_rows(settings: Settings) -> None:
    write_lake(settings, [line("gone", FIRST), line("changed", FIRST), line("same", FIRST), line("other", SECOND)])
    load(settings)
    replace_day(settings, LINES, FIRST, [line("changed", FIRST, quantity=2), line("same", FIRST), line("new", FIRST)])
    assert changes(load(settings, [FIRST])) == (1, 1, 1)
    assert [(row["event_id"], row["quantity"]) for row in raw(settings, "event_id, quantity")] == [
        ("changed", 2),
        ("new", 1),
        ("other", 1),
        ("same", 1),
    ]


def test_a_date_that_lost_all_its_rows_is_emptied(settings: Settings) -> None:
    write_lake(settings, [line("a", FIRST), line("b", SECOND)])
    load(settings)
    replace_day(settings, LINES, FIRST, [])
    result = load(settings, [FIRST])
    assert (result.rows, *changes(result)) == (0, 0, 0, 1)
    assert [row["event_id"] for row in raw(settings)] == ["b"]


def test_an_event_whose_business_date_moved_is_there_once(settings: Settings) -> None:
    write_lake(settings, [line("a", FIRST)])
    load(settings)
    replace_day(settings, LINES, FIRST, [])
    write(settings, LINES, [line("a", SECOND)])
    load(settings, [SECOND])
    assert [row["business_date"] for row in raw(settings, "business_date")] == [SECOND]


def test_a_key_that_silver_holds_twice_stops_the_load(settings: Settings) -> None:
    write_lake(settings, [line("a", FIRST), line("a", FIRST, quantity=2)])
    with pytest.raises(RetailError, match=r"version 0 holds 1 keys \(event_id, line_number\) more than once"):
        load(settings)
    assert raw(settings) == []


def test_batches_are_loaded_by_the_dates_they_touched(settings: Settings) -> None:
    write_lake(settings, [line("a", FIRST)], batches=[batch(0, [FIRST]), batch(1, [FIRST, SECOND]), batch(2, [THIRD])])
    warehouse = open_warehouse(settings)
    result = warehouse.load(manifest(settings, INGEST_BATCHES, [SECOND]), "run-1")
    assert changes(result) == (1, 0, 0)
    assert changes(warehouse.load(manifest(settings, INGEST_BATCHES, [FIRST, SECOND]), "run-1")) == (1, 0, 0)
    assert [row["batch_id"] for row in raw(settings, "batch_id", "ingest_batches")] == [0, 1]


def test_a_batch_that_came_with_another_date_is_no_difference(settings: Settings) -> None:
    write_lake(settings, [line("a", FIRST)], batches=[batch(0, [FIRST])])
    warehouse = open_warehouse(settings)
    warehouse.load(manifest(settings, INGEST_BATCHES, [FIRST]), "run-1")
    write(settings, INGEST_BATCHES, [batch(1, [FIRST, SECOND])])
    warehouse.load(manifest(settings, INGEST_BATCHES, [SECOND]), "run-2")
    assert warehouse.reconcile(INGEST_BATCHES, [FIRST, SECOND]) == []


def test_the_ledger_keeps_the_version_rows_and_exact_sums_of_each_date(settings: Settings) -> None:
    write_lake(settings, [line("a", FIRST), line("b", SECOND, unit_price=Decimal("0.1000"), quantity=3)])
    load(settings)
    write(settings, LINES, [line("c", SECOND)])
    load(settings, [SECOND])
    rows = raw(settings, "business_date, delta_version, row_count, run_id, sums->>'net_amount' as net", "loads")
    assert [tuple(row.values()) for row in rows] == [
        (FIRST, 0, 1, "run-1", "10.0000"),
        (SECOND, 0, 1, "run-1", "0.3000"),
        (SECOND, 1, 2, "run-1", "10.3000"),
    ]
    assert open_warehouse(settings).loaded_versions(LINES, [FIRST, SECOND, THIRD]) == {FIRST: 0, SECOND: 1}


def test_every_table_of_the_warehouse_reconciles_after_its_load(settings: Settings) -> None:
    write_lake(settings, [line("a", FIRST), line("b", SECOND)])
    warehouse = open_warehouse(settings)
    for table in WAREHOUSE_TABLES:
        warehouse.load(manifest(settings, table, [FIRST, SECOND]), "run-1")
        assert warehouse.reconcile(table, [FIRST, SECOND]) == []


def test_silver_that_moved_on_after_the_load_is_no_difference(settings: Settings) -> None:
    write_lake(settings, [line("a", FIRST)])
    load(settings, [FIRST])
    write(settings, LINES, [line("late", FIRST)])
    assert open_warehouse(settings).reconcile(LINES, [FIRST]) == []


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        ("delete from raw.transaction_lines where event_id = 'b'", "rows is 0, silver has 1"),
        ("update raw.transaction_lines set net_amount = 9.9999 where event_id = 'b'", "sum of net_amount is 9.9999"),
    ],
)
def test_a_broken_partition_is_named(settings: Settings, damage: str, named: str) -> None:
    write_lake(settings, [line("a", FIRST), line("b", SECOND)])
    load(settings)
    with duckdb.connect(settings.warehouse_path) as connection:
        connection.execute(damage)
    found = open_warehouse(settings).reconcile(LINES, [FIRST, SECOND])
    assert {difference.business_date for difference in found} == {SECOND}
    assert str(found[0]).startswith(f"silver/transaction_lines {SECOND}: {named}")


def test_a_date_that_was_never_loaded_is_named(settings: Settings) -> None:
    write_lake(settings, [line("a", FIRST)])
    warehouse = open_warehouse(settings)
    warehouse.create_tables()
    assert [str(found) for found in warehouse.reconcile(LINES, [FIRST])] == [
        "silver/transaction_lines 2010-12-01: load is missing, silver has a version to load"
    ]


HOLD = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.readline(); c.close()"


def hold(settings: Settings) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(settings.warehouse_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline().strip() == "held"
    return child


def test_it_waits_for_another_process_to_leave_the_file(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    write_lake(settings, [line("a", FIRST)])
    warehouse = open_warehouse(settings)
    warehouse.create_tables()
    refused = threading.Event()

    def pause(seconds: float) -> None:
        refused.set()
        time.sleep(seconds)

    monkeypatch.setattr("retail_platform.warehouse.duckdb.time", SimpleNamespace(monotonic=time.monotonic, sleep=pause))
    child = hold(settings)
    results: list[LoadResult] = []
    loading = threading.Thread(target=lambda: results.append(warehouse.load(manifest(settings, LINES), "run-1")))
    loading.start()
    assert refused.wait(timeout=30)
    child.communicate("\n")
    loading.join(timeout=30)
    assert [changes(result) for result in results] == [(1, 0, 0)]


def test_a_file_that_stays_in_use_is_one_clear_error(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    warehouse = open_warehouse(settings)
    warehouse.create_tables()
    child = hold(settings)
    monkeypatch.setattr("retail_platform.warehouse.duckdb._LOCK_WAIT_SECONDS", 0.2)
    try:
        with pytest.raises(RetailError, match=f"is in use.*{child.pid}"):
            warehouse.query("select 1")
    finally:
        child.communicate("\n")


def test_a_file_that_is_no_warehouse_is_one_clear_error(settings: Settings) -> None:
    settings.warehouse_path.parent.mkdir(parents=True)
    settings.warehouse_path.write_bytes(b"not a database" * 1000)
    with pytest.raises(RetailError, match="cannot be opened"):
        open_warehouse(settings).create_tables()


def test_a_warehouse_that_was_never_loaded_says_what_to_do_and_stays_absent(settings: Settings) -> None:
    with pytest.raises(RetailError, match=r"warehouse.duckdb does not exist; load a day first"):
        open_warehouse(settings).query("select 1")
    assert not settings.warehouse_path.exists()


def test_a_question_about_marts_that_were_never_built_says_what_to_do(settings: Settings) -> None:
    warehouse = open_warehouse(settings)
    warehouse.create_tables()
    with pytest.raises(RetailError, match=r"agg_daily_kpis.* does not exist.*load and build a day"):
        warehouse.query("select * from marts.agg_daily_kpis")
