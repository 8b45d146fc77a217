"""The Snowflake adapter through Dagster's resource and Snowflake's own connector, against an emulator over HTTP."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path

import pytest

from retail_platform.contracts import INGEST_BATCHES, STOCK_LEVELS
from retail_platform.embedded.ports import free_port_pair
from retail_platform.errors import RetailError, SettingsError
from retail_platform.lakehouse.manifest import manifest
from retail_platform.reactions.stock import levels
from retail_platform.settings import Settings, load_settings
from retail_platform.warehouse import LoadResult, open_warehouse
from retail_platform_tests.ingest.running import in_a_bucket
from retail_platform_tests.warehouse.silver import (
    LINES,
    Row,
    batch,
    line,
    replace_day,
    row_of,
    write,
    write_lake,
)
from retail_platform_tests.warehouse.snowflake_server import PASSWORD, SnowflakeServer, snowflake_server

MORNING = dt.datetime(2010, 12, 1, 8, tzinfo=dt.UTC)
FIRST, SECOND = (dt.date(2010, 12, day) for day in (1, 2))


@pytest.fixture(scope="module")
def server() -> Iterator[SnowflakeServer]:
    with snowflake_server() as running:
        yield running


@pytest.fixture
def settings(server: SnowflakeServer, tmp_path: Path) -> Settings:
    return server.settings(tmp_path)


@pytest.fixture
def in_bucket(settings: Settings, s3_endpoint: str) -> Settings:
    """Settings of a lake in a bucket, which is empty, as the stage is."""
    return in_a_bucket(
        settings, s3_endpoint, aws_access_key_id="key", aws_secret_access_key="secret", snowflake_stage="STREAMING.LAKE"
    )


def load(settings: Settings, dates: Sequence[dt.date] | None = None) -> LoadResult:
    return open_warehouse(settings).load(manifest(settings, LINES, dates), "run-1")


def changes(result: LoadResult) -> tuple[int, int, int]:
    return result.inserted, result.updated, result.deleted


def raw(settings: Settings, columns: str = "event_id", table: str = "transaction_lines") -> list[Row]:
    return open_warehouse(settings).query(f"select {columns} from raw.{table} order by 1, 2").to_pylist()


def test_a_load_brings_every_row_exactly_and_a_second_changes_nothing(settings: Settings) -> None:
    price = Decimal("12345678901234.5678")
    write_lake(settings, [line("a", FIRST, unit_price=price), line("a", FIRST, 2, quantity=3), line("b", SECOND)])
    result = load(settings)
    assert (result.rows, *changes(result)) == (3, 3, 0, 0)
    assert [(date.business_date, date.rows) for date in result.dates] == [(FIRST, 2), (SECOND, 1)]
    rows = raw(settings, "event_id, line_number, business_date, unit_price, region")
    assert (rows[0]["business_date"], rows[0]["unit_price"], rows[0]["region"]) == (FIRST, price, None)
    assert changes(load(settings)) == (0, 0, 0)
    assert raw(settings, "event_id, line_number, business_date, unit_price, region") == rows
    assert open_warehouse(settings).reconcile(LINES, [FIRST, SECOND]) == []
    assert result.query_ids


def test_a_day_derived_again_loses_updates_and_gains_rows(settings: Settings) -> None:
    write_lake(settings, [line("gone", FIRST), line("changed", FIRST), line("other", SECOND)])
    load(settings)
    replace_day(settings, LINES, FIRST, [line("changed", FIRST, quantity=2), line("new", FIRST)])
    assert changes(load(settings, [FIRST])) == (1, 1, 1)
    assert [row["event_id"] for row in raw(settings, "event_id, quantity")] == ["changed", "new", "other"]
    assert open_warehouse(settings).loaded_versions(LINES, [FIRST, SECOND]) == {FIRST: 1, SECOND: 0}


def test_batches_are_loaded_by_the_dates_they_touched(settings: Settings) -> None:
    write_lake(settings, [line("a", FIRST)], batches=[batch(0, [FIRST]), batch(1, [FIRST, SECOND])])
    warehouse = open_warehouse(settings)
    assert changes(warehouse.load(manifest(settings, INGEST_BATCHES, [SECOND]), "run-1")) == (1, 0, 0)
    assert changes(warehouse.load(manifest(settings, INGEST_BATCHES, [FIRST]), "run-1")) == (1, 0, 0)
    assert warehouse.reconcile(INGEST_BATCHES, [FIRST, SECOND]) == []


def test_a_day_on_which_a_number_is_never_known_is_loaded_and_reconciled(settings: Settings) -> None:
    _, (level,) = levels.step(levels.State(), levels.StockEvent("e", MORNING, "S1", "P1", "receipt", 7))
    assert level.counted_quantity is None
    write_lake(settings, [line("a", FIRST)])
    write(settings, STOCK_LEVELS.silver_table, [row_of(STOCK_LEVELS, level.message(), 0)])
    warehouse = open_warehouse(settings)
    result = warehouse.load(manifest(settings, STOCK_LEVELS.silver_table, [FIRST]), "run-1")
    assert (changes(result), result.dates[0].sums["counted_quantity"]) == ((1, 0, 0), 0)
    assert warehouse.reconcile(STOCK_LEVELS.silver_table, [FIRST]) == []


def test_a_lake_in_a_bucket_is_loaded_by_the_stage_and_nothing_is_sent(
    in_bucket: Settings, server: SnowflakeServer
) -> None:
    settings = in_bucket
    write_lake(
        settings, [line("gone", FIRST), line("changed", FIRST), line("other", SECOND)], batches=[batch(0, [FIRST])]
    )
    server.put_stage_on(settings, "LAKE")
    server.bodies.clear()
    result = load(settings)
    assert (result.rows, *changes(result)) == (3, 3, 0, 0)
    assert result.bytes == manifest(settings, LINES).bytes > 0
    replace_day(settings, LINES, FIRST, [line("changed", FIRST, quantity=2), line("new", FIRST)])
    assert changes(load(settings, [FIRST])) == (1, 1, 1)  # the files of the version before are still in the bucket
    assert [row["event_id"] for row in raw(settings, "event_id, quantity")] == ["changed", "new", "other"]
    warehouse = open_warehouse(settings)
    assert changes(warehouse.load(manifest(settings, INGEST_BATCHES, [FIRST]), "run-1")) == (1, 0, 0)
    assert [warehouse.reconcile(table, [FIRST]) for table in (LINES, INGEST_BATCHES)] == [[], []]
    assert [body for body in server.bodies if '"put ' in body] == []


def test_a_stage_that_is_not_there_or_not_on_the_lake_is_named(in_bucket: Settings, server: SnowflakeServer) -> None:
    write_lake(in_bucket, [line("a", FIRST)])
    with pytest.raises(RetailError, match=r"does not exist.*SNOWFLAKE_STAGE STREAMING\.LAKE .*docs/operate/snowflake"):
        load(in_bucket)
    server.put_stage_on(in_bucket.model_copy(update={"s3_prefix": "another"}), "LAKE")
    with pytest.raises(RetailError, match=r"SNOWFLAKE_STAGE STREAMING\.LAKE"):
        load(in_bucket)


def test_a_key_that_silver_holds_twice_stops_the_load(settings: Settings) -> None:
    write_lake(settings, [line("a", FIRST), line("a", FIRST, quantity=2)])
    with pytest.raises(RetailError, match="holds 1 keys"):
        load(settings)
    assert raw(settings, "event_id, quantity") == []


def test_a_load_that_fails_after_its_merge_leaves_nothing(settings: Settings, server: SnowflakeServer) -> None:
    write_lake(settings, [line("a", FIRST)])
    open_warehouse(settings).create_tables()
    server.fail_on = "delete from"
    try:
        with pytest.raises(RetailError, match=r"Snowflake refused a statement: .*told to fail here"):
            load(settings)
    finally:
        server.fail_on = None
    assert raw(settings, "event_id, quantity") == []
    assert changes(load(settings)) == (1, 0, 0)


def test_a_wrong_password_is_one_line_without_the_password(settings: Settings) -> None:
    wrong = settings.model_copy(update={"snowflake_password": type(settings.snowflake_password)("not-it-at-all")})
    with pytest.raises(RetailError, match=r"refuses the login: .*Incorrect username or password") as caught:
        open_warehouse(wrong).query("select 1")
    assert "not-it-at-all" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_account_that_does_not_answer_is_one_line(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retail_platform.warehouse.snowflake._LOGIN_SECONDS", 2)
    away = settings.model_copy(update={"snowflake_port": free_port_pair()})
    with pytest.raises(RetailError, match=r"Snowflake cannot be reached"):
        open_warehouse(away).query("select 1")


def test_a_mart_that_was_never_built_is_named(settings: Settings) -> None:
    open_warehouse(settings).create_tables()
    with pytest.raises(RetailError, match=r"(?i)not everything yet.*agg_daily_kpis"):
        open_warehouse(settings).query("select * from raw.agg_daily_kpis")


def test_the_password_is_in_no_statement(settings: Settings, server: SnowflakeServer) -> None:
    server.bodies.clear()
    write_lake(settings, [line("a", FIRST)])
    load(settings)
    assert server.bodies
    assert [body for body in server.bodies if PASSWORD in body] == []


def test_each_missing_setting_is_named_at_once(in_bucket: Settings) -> None:
    with pytest.raises(SettingsError, match="SNOWFLAKE_STAGE is missing"):
        load_settings(env_file=None, **(in_bucket.model_dump() | {"snowflake_stage": None}))
    with pytest.raises(SettingsError, match=r"SNOWFLAKE_ACCOUNT, SNOWFLAKE_USER.*SNOWFLAKE_PRIVATE_KEY_PATH"):
        load_settings(env_file=None, warehouse="snowflake")
