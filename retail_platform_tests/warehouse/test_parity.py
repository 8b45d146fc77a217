"""``retail snowflake verify``: the same December through both warehouses, the same marts row for row and to the cent.

Snowflake is the emulator of ``snowflake_server.py``: adapter, dbt-snowflake and connector are the real ones.
"""

from __future__ import annotations

import datetime as dt
import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow.parquet as pq
import pytest
from click.testing import Result
from dbt.config.profile import read_profile
from dbt.config.renderer import ProfileRenderer
from dbt_common.context import set_invocation_context
from typer.testing import CliRunner

from retail_platform.cli import snowflake as command
from retail_platform.cli.app import app
from retail_platform.contracts import STOCK_LEVELS
from retail_platform.producer import online_retail
from retail_platform.reactions.stock import levels
from retail_platform.settings import PROJECT_ROOT, Settings, load_settings
from retail_platform.warehouse import parity
from retail_platform.warehouse.dbt import DBT_PROJECT, MARTS, dbt_environment
from retail_platform.warehouse.parity import Compared, differences
from retail_platform_tests.environment import environment
from retail_platform_tests.ingest.running import in_a_bucket
from retail_platform_tests.warehouse.silver import Row, line, row_of, rows_of, write, write_lake
from retail_platform_tests.warehouse.snowflake_server import Fault, SnowflakeServer, snowflake_server


@pytest.fixture(scope="module")
def server() -> Iterator[SnowflakeServer]:
    with snowflake_server() as running:
        yield running


@pytest.fixture
def verify(
    request: pytest.FixtureRequest, server: SnowflakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    """The command, as an account would have it; the lake, on disk or in a bucket, holds the real December 2010."""
    settings = server.settings(tmp_path)
    if request.param == "bucket":
        keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "snowflake_stage": "LAKE"}
        settings = in_a_bucket(settings, request.getfixturevalue("s3_endpoint"), **keys)
        server.put_stage_on(settings, "LAKE")
    monkeypatch.setattr(command, "get_settings", lambda: settings)
    lines, movements = rows_of(online_retail.messages(online_retail.read(online_retail.sample_file())))
    write_lake(settings, lines, movements)
    write(settings, STOCK_LEVELS.silver_table, _levels(lines, movements))
    return lambda *arguments, **more: CliRunner().invoke(app, ["snowflake", "verify", *arguments], **more)


def _levels(lines: Sequence[Row], movements: Sequence[Row]) -> list[Row]:
    """What the stream says of the stocks, the events in another order than that of their time."""
    moved = [(row, row["movement"], row["quantity"]) for row in movements]
    sold = [(row, row["event_type"], row["quantity"] * (1 if row["event_type"] == "return" else -1)) for row in lines]
    states: dict[str, levels.State] = {}
    found: list[Row] = []
    for row, reason, quantity in sorted(moved + sold, key=lambda each: (each[0]["business_date"], each[0]["event_id"])):
        event = levels.StockEvent(
            row["event_id"], row["event_time"], row["store_id"], row["product_id"], reason, quantity
        )
        states[event.key], told = levels.step(states.get(event.key, levels.State()), event)
        found += [row_of(STOCK_LEVELS, level.message(), len(found)) for level in told]
    return found


@pytest.mark.parametrize(
    ("verify", "last"),
    [
        ("disk", 2),
        pytest.param("disk", 31, marks=pytest.mark.soak),
        pytest.param("bucket", 2, marks=pytest.mark.soak),
    ],
    indirect=["verify"],
)
def test_both_warehouses_come_to_the_same_marts_and_nothing_is_left(
    server: SnowflakeServer, verify: Callable[..., Result], last: int
) -> None:
    nothing = verify("--from", "2030-01-01", "--to", "2030-01-01", "--yes").exception
    assert "silver/transaction_lines has no rows from 2030-01-01 to 2030-01-01" in str(nothing)
    assert verify(input="n\n").exit_code == 1
    server.bodies.clear()
    done = verify("--to", f"2010-12-{last:02}", "--yes")
    assert done.exit_code == 0, done.output
    told = {
        what.strip(): (int(rows.replace(",", "")), int(differences))
        for _, mark, what, rows, differences, _ in (
            line.split("│") for line in done.output.splitlines() if line.startswith("│")
        )
    }
    assert set(told) == {*MARTS, "the KPI file", "reconciliation with silver", "tie-out with silver"}
    assert {differences for _, differences in told.values()} == {0}
    assert told["agg_daily_kpis"] == told["the KPI file"] == (2 if last == 2 else 20, 0)
    filled = (
        "fct_orders",
        "agg_daily_kpis",
        "dim_products",
        "customer_rfm",
        "customer_rfm_snapshot",
        "inventory_daily",
    )
    assert all(told[mart][0] for mart in filled)
    statements = [json.loads(body)["sqlText"] for body in server.bodies]
    assert any(text.startswith("create transient database RETAIL_VERIFY_") for text in statements)
    assert [name for name in server.databases() if name.startswith("RETAIL_VERIFY_")] == []
    tagged = [text for text in statements if "alter session set statement_timeout_in_seconds = 1800, query_tag" in text]
    assert any(f'"run": "verify", "partition": "2010-12-01..2010-12-{last:02}"' in statement for statement in tagged)


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_the_daily_job_writes_the_same_kpi_file_and_marts_when_one_setting_is_another(
    server: SnowflakeServer, sample_lake: Settings, tmp_path: Path
) -> None:
    logins = server.settings(tmp_path)
    chosen = {name: getattr(logins, name) for name in logins.model_fields_set if name.startswith("snowflake_")}
    written = {}
    for warehouse in ("duckdb", "snowflake"):
        folder = tmp_path / warehouse
        shutil.copytree(sample_lake.retail_home, folder / "home")
        here = {"warehouse": warehouse, "retail_home": folder / "home", "retail_outputs": folder / "outputs"}
        settings = sample_lake.model_copy(update=chosen | here)
        for first, last in ((1, 2), (2, 3)):  # new days; one of them again, with a new one
            days = ("--from", f"2010-12-0{first}", "--to", f"2010-12-0{last}")
            done = subprocess.run(
                [Path(sys.executable).with_name("retail"), "run", *days, "--no-drain"],
                env=environment(settings), cwd=PROJECT_ROOT, capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stdout + done.stderr
        marts = {
            path.stem: Counter(map(_row, pq.read_table(path).to_pylist())) for path in settings.marts_dir.iterdir()
        }
        written[warehouse] = settings.kpi_csv.read_bytes(), marts
    assert written["snowflake"] == written["duckdb"]
    assert written["snowflake"][0].count(b"\n") == 1 + 3
    assert set(written["snowflake"][1]) <= set(MARTS)
    assert settings.warehouse_path.exists() is False


def test_what_differs_is_counted_on_both_sides_and_shown() -> None:
    same = {"order": "a", "revenue": Decimal("1.00")}
    duckdb = [same, {"order": "b", "revenue": Decimal("2.00")}, same]
    snowflake = [{"order": "b", "revenue": Decimal("2.01")}, same]
    found = differences("fct_orders", map(_row, duckdb), map(_row, snowflake))
    assert (found.rows, found.differences) == (3, 3)
    assert found.example.startswith("only DuckDB has (('order', 'a')")
    assert "only Snowflake has (('order', 'b'), ('revenue', Decimal('2.01')))" in found.example
    assert differences("fct_orders", map(_row, duckdb), map(_row, reversed(duckdb))).differences == 0


def _row(row: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple(row.items())


def test_a_difference_is_told_and_the_command_fails(
    server: SnowflakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "get_settings", lambda: server.settings(tmp_path))
    unequal = [Compared("fct_orders", 3, 1, "only DuckDB has [an order]")]
    monkeypatch.setattr(parity, "compare", lambda *_: unequal)
    done = CliRunner().invoke(app, ["snowflake", "verify", "--yes"])
    assert done.exit_code == 1
    assert "fct_orders: only DuckDB has [an order]" in done.output


def test_verify_is_for_snowflake_and_says_what_right_it_needs(
    server: SnowflakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = server.settings(tmp_path)
    monkeypatch.setattr(command, "get_settings", lambda: settings)
    write_lake(settings, [line("a", dt.date(2010, 12, 1))])
    with server.failing(Fault("create transient database", "003001")):
        done = CliRunner().invoke(app, ["snowflake", "verify", "--yes"])
    assert "`grant create database on account to role LOADER`" in str(done.exception)
    monkeypatch.setattr(command, "get_settings", lambda: settings.model_copy(update={"warehouse": "duckdb"}))
    assert "needs WAREHOUSE=snowflake" in str(CliRunner().invoke(app, ["snowflake", "verify"]).exception)


@pytest.mark.parametrize(
    ("login", "kept"),
    [
        (
            {"snowflake_private_key_path": Path("/keys/loader.p8"), "snowflake_private_key_passphrase": "0456"},
            {"private_key_path": "/keys/loader.p8", "private_key_passphrase": "0456"},
        ),
        ({"snowflake_private_key_path": Path("/keys/loader.p8")}, {"private_key_path": "/keys/loader.p8"}),
        (
            {"snowflake_private_key": "\n-----BEGIN…\nabc\n…KEY-----\n", "snowflake_private_key_passphrase": "0456"},
            {"private_key": "-----BEGIN…\nabc\n…KEY-----", "private_key_passphrase": "0456"},
        ),
        ({"snowflake_password": "0123"}, {"password": "0123"}),
    ],
)
def test_dbt_is_given_a_password_or_a_key_and_none_for_the_other(login: dict[str, Any], kept: dict[str, str]) -> None:
    common = {"warehouse": "snowflake", "snowflake_account": "a", "snowflake_user": "u"}
    common |= {"snowflake_warehouse": "w", "snowflake_role": "r"}
    given = dbt_environment(load_settings(env_file=None, **common, **login))
    with patch.dict("os.environ", given):
        set_invocation_context(given)
        profile = ProfileRenderer({}).render_data(read_profile(str(DBT_PROJECT))["retail"]["outputs"]["snowflake"])
    none = dict.fromkeys(("password", "private_key", "private_key_path", "private_key_passphrase", "host"))
    assert {name: profile[name] for name in none} == none | kept
