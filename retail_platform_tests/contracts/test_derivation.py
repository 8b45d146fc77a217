"""The Spark schema, the warehouse DDL, the dbt sources and the pages all say what the one contract says."""

from __future__ import annotations

import re
from dataclasses import replace

import duckdb
import pytest
import yaml

from retail_platform.contracts import (
    ALL_TABLES,
    INVENTORY,
    TOPICS,
    TRANSACTIONS,
    WAREHOUSE_TABLES,
    Table,
    TopicContract,
)
from retail_platform.contracts.model import Amount, Field, Records, Text
from retail_platform.contracts.pages import contract_page, tables_page
from retail_platform.warehouse import dbt_sources, sql

Columns = list[tuple[str, str]]


def in_spark(table: Table) -> Columns:
    return [(name, kind) for name, kind in (part.split(" ", 1) for part in table.spark_ddl.split(", "))]


def in_duckdb(table: Table) -> Columns:
    """What DuckDB itself says after the DDL was run."""
    with duckdb.connect() as connection:
        connection.execute(f"create schema {sql.RAW}")
        connection.execute(sql.create_table(table, "duckdb"))
        rows = connection.execute(f"describe {sql.address(table, 'duckdb')}").fetchall()
    return [(row[0], row[1].lower()) for row in rows]


def in_snowflake(table: Table) -> Columns:
    inside = sql.create_table(table, "snowflake").split(" (", 1)[1].removesuffix(")")
    entries = re.findall(r'"([A-Z_]+)" ([a-z_]+(?:\([0-9,]+\))?)', inside)
    return [(name.lower(), kind) for name, kind in entries]


def in_sources(table: Table, text: str) -> Columns:
    tables = yaml.safe_load(text)["sources"][0]["tables"]
    columns = next(entry["columns"] for entry in tables if entry["name"] == table.name)
    return [(column["name"], column["data_type"]) for column in columns]


def in_page(table: Table, page: str) -> Columns:
    """Column and Spark type of the table's section."""
    section = page.split(f"\n## {table.path}\n", 1)[1].split("\n## ", 1)[0]
    return re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", section, re.MULTILINE)


def expected(table: Table, engine: str) -> Columns:
    return [(column.name, getattr(column.type, engine)) for column in table.columns]


@pytest.mark.parametrize("table", ALL_TABLES, ids=lambda table: table.path)
def test_the_spark_schema_and_the_page_have_the_contracts_columns_in_order_and_type(table: Table) -> None:
    assert in_spark(table) == expected(table, "spark")
    assert in_page(table, tables_page(ALL_TABLES, WAREHOUSE_TABLES)) == expected(table, "spark")


@pytest.mark.parametrize("table", WAREHOUSE_TABLES, ids=lambda table: table.path)
def test_the_warehouses_and_dbt_have_the_contracts_columns_in_order_and_type(table: Table) -> None:
    assert in_duckdb(table) == expected(table, "duckdb")
    assert in_snowflake(table) == expected(table, "snowflake")
    assert in_sources(table, dbt_sources.render_sources()) == expected(table, "dbt")


@pytest.mark.parametrize("contract", TOPICS, ids=lambda contract: contract.topic)
def test_the_page_of_a_topic_names_every_field_and_every_reason(contract: TopicContract) -> None:
    page = contract_page(contract, {})
    for leaf in (*contract.header_leaves, *contract.line_leaves):
        assert re.search(rf"^\| `{re.escape(leaf.path)}` \|.*\| `{leaf.column}` \|", page, re.MULTILINE), leaf.path
    for reason in contract.reasons:
        assert f"\n| `{reason}` |" in page


@pytest.mark.parametrize("contract", TOPICS, ids=lambda contract: contract.topic)
def test_every_required_field_is_a_silver_column_that_is_never_null(contract: TopicContract) -> None:
    for leaf in (*contract.header_leaves, *contract.line_leaves):
        assert contract.silver_table.column(leaf.column).nullable is not leaf.always_present, leaf.path


def with_header_field() -> tuple[TopicContract, str]:
    added = Field("cashier", Text(20), "Who rang it up.", required=False)
    return replace(INVENTORY, fields=(*INVENTORY.fields, added)), "cashier"


def with_line_field() -> tuple[TopicContract, str]:
    added = Field("deposit", Amount("0", "100"), "Deposit on the bottle.")
    assert TRANSACTIONS.lines is not None
    assert isinstance(TRANSACTIONS.lines.type, Records)
    items = replace(
        TRANSACTIONS.lines, type=replace(TRANSACTIONS.lines.type, fields=(*TRANSACTIONS.lines.type.fields, added))
    )
    fields = tuple(items if entry is TRANSACTIONS.lines else entry for entry in TRANSACTIONS.fields)
    return replace(TRANSACTIONS, fields=fields), "deposit"


@pytest.mark.parametrize(("contract", "column"), [with_header_field(), with_line_field()], ids=["header", "line"])
def test_a_field_that_is_added_to_a_contract_appears_everywhere(
    contract: TopicContract, column: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = contract.silver_table
    monkeypatch.setattr(dbt_sources, "WAREHOUSE_TABLES", (table,))
    everywhere = {
        "Spark": in_spark(table),
        "DuckDB": in_duckdb(table),
        "Snowflake": in_snowflake(table),
        "dbt": in_sources(table, dbt_sources.render_sources()),
        "tables.md": in_page(table, tables_page((table,), (table,))),
    }
    assert [place for place, columns in everywhere.items() if column not in dict(columns)] == []
    page = contract_page(contract, {})
    assert f"`{column}`" in page
    assert any(code.endswith(column) for code in contract.reasons)
    assert all(f"| `{code}` |" in page for code in contract.reasons)


def test_a_bar_in_a_description_does_not_break_the_page() -> None:
    changed = replace(INVENTORY, fields=(Field("event_id", Text(), "this | that"), *INVENTORY.fields[1:]))
    assert "this \\| that" in contract_page(changed, {})
