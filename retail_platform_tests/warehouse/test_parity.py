"""The same December through both warehouses: the same marts row for row and to the cent, and the same KPI file.

Snowflake is the emulator of ``snowflake_server.py``: adapter, dbt-snowflake and connector are the real ones.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from dbt.config.profile import read_profile
from dbt.config.renderer import ProfileRenderer
from dbt_common.context import set_invocation_context

from retail_platform.contracts import WAREHOUSE_TABLES
from retail_platform.lakehouse.manifest import manifest
from retail_platform.producer import online_retail
from retail_platform.settings import Settings, load_settings
from retail_platform.warehouse import open_warehouse
from retail_platform.warehouse.dbt import DBT_PROJECT, MARTS, dbt_environment, query_tag
from retail_platform.warehouse.kpi_file import daily_kpis, upsert_daily
from retail_platform.warehouse.tie_out import tie_out
from retail_platform_tests.dbt.project import DbtProject
from retail_platform_tests.warehouse.silver import rows_of, write_lake
from retail_platform_tests.warehouse.snowflake_server import SnowflakeServer, snowflake_server


@pytest.fixture(scope="module")
def server() -> Iterator[SnowflakeServer]:
    with snowflake_server() as running:
        yield running


@pytest.mark.parametrize("last", [2, pytest.param(31, marks=pytest.mark.soak)])
def test_both_warehouses_come_to_the_same_marts_and_the_same_file(
    server: SnowflakeServer, tmp_path: Path, last: int
) -> None:
    snowflake = server.settings(tmp_path)
    embedded = load_settings(env_file=None, retail_home=snowflake.retail_home, retail_outputs=tmp_path / "duckdb")
    dates = [dt.date(2010, 12, day) for day in range(1, last + 1)]
    lines, movements = rows_of(online_retail.messages(online_retail.read(online_retail.sample_file())))
    write_lake(embedded, [line for line in lines if line["business_date"] in dates], movements)

    built = {each.warehouse: _built(each, dates, tmp_path / each.warehouse) for each in (embedded, snowflake)}

    for mart in MARTS:
        assert built["snowflake"][mart] == built["duckdb"][mart], mart
    assert all(built["duckdb"][mart] for mart in ("fct_orders", "agg_daily_kpis", "dim_products", "customer_rfm"))
    assert snowflake.kpi_csv.read_bytes() == embedded.kpi_csv.read_bytes()
    expected = online_retail.sample_expected_daily().read_text().splitlines()
    found = [line.rpartition(",")[0] for line in snowflake.kpi_csv.read_text().splitlines()]
    assert found == [line for line in expected if line[:10] in ("date,order", *map(str, dates))]
    assert tie_out(open_warehouse(snowflake), snowflake, dates) == []
    statements = [json.loads(body)["sqlText"] for body in server.bodies]
    tagged = [statement for statement in statements if "set query_tag" in statement]
    assert any(f'"run": "run-1", "partition": "2010-12-01..{dates[-1]}"' in statement for statement in tagged)


def _built(settings: Settings, dates: list[dt.date], folder: Path) -> dict[str, list[list[Any]]]:
    """Each mart of ``dates``, loaded and built twice over, as sorted rows; the KPI file is written beside."""
    warehouse = open_warehouse(settings)
    for table in WAREHOUSE_TABLES:
        warehouse.load(manifest(settings, table, dates), "run-1")
        assert warehouse.reconcile(table, dates) == []
    project = DbtProject(folder)
    project.parse(settings)
    with patch.dict("os.environ", query_tag("run-1", dates)):
        for _ in range(2):
            assert project.run(settings, "build", dates, "--exclude", "test_type:unit") == (True, {})
    upsert_daily(settings.kpi_csv, daily_kpis(warehouse, dates), dates)
    return {mart: _sorted(warehouse.query(f"select * from marts.{mart}").to_pylist()) for mart in MARTS}


def _sorted(rows: list[dict[str, Any]]) -> list[list[Any]]:
    listed = [[row[name] for name in sorted(row)] for row in rows]
    return sorted(listed, key=lambda row: [(value is None, value if value is not None else 0) for value in row])


@pytest.mark.parametrize(
    ("login", "kept"),
    [
        (
            {"snowflake_private_key_path": Path("/keys/loader.p8"), "snowflake_private_key_passphrase": "0456"},
            {"private_key_path": "/keys/loader.p8", "private_key_passphrase": "0456"},
        ),
        ({"snowflake_private_key_path": Path("/keys/loader.p8")}, {"private_key_path": "/keys/loader.p8"}),
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
    none = dict.fromkeys(("password", "private_key_path", "private_key_passphrase", "host"))
    assert {name: profile[name] for name in none} == none | kept
