"""SQL rendered from the contracts, per dialect. Pure: text in, text out; who runs it is an adapter.

Names are folded as each engine folds unquoted ones, so that dbt, which does not quote, finds them.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Sequence
from typing import Literal

from retail_platform.contracts import WAREHOUSE_TABLES, Column, Table
from retail_platform.contracts.model import (
    DATE,
    INTEGER,
    LONG,
    PROVENANCE_COLUMNS,
    STRING,
    TIMESTAMP,
    ColumnType,
)
from retail_platform.lakehouse.manifest import BUSINESS_DATE

Dialect = Literal["duckdb", "snowflake"]

RAW = "raw"

#: The warehouse's own ledger: which version of which table each business date was loaded from, and what it held.
LOADS = Table(
    layer=RAW,
    name="loads",
    grain="one business date of one load of one table",
    description="Every load: the Delta version it read, rows and sums per business date, when, and by which run.",
    columns=(
        Column("load_id", STRING, "The load; one load may cover many dates."),
        Column("table_name", STRING, "Lake table that was loaded, e.g. silver/transaction_lines."),
        Column("business_date", DATE, "Business date that was loaded."),
        Column("delta_version", LONG, "Version of the Delta table that was read."),
        Column("row_count", LONG, "Rows of the date."),
        Column("sums", STRING, "Exact sum of each checked column, as a JSON object of decimal strings."),
        Column("loaded_at", TIMESTAMP, "When the load was committed (UTC)."),
        Column("run_id", STRING, "Run that loaded it."),
    ),
    key=("load_id", "business_date"),
)


def identifier(name: str, dialect: Dialect) -> str:
    """``name`` quoted, in the case to which the engine folds unquoted names."""
    return f'"{name.upper() if dialect == "snowflake" else name}"'


def address(table: Table, dialect: Dialect) -> str:
    """``schema.table`` of a table in ``raw``."""
    return f"{identifier(RAW, dialect)}.{identifier(table.name, dialect)}"


def spelling(column_type: ColumnType, dialect: Dialect) -> str:
    """A column type as the engine spells it."""
    return column_type.snowflake if dialect == "snowflake" else column_type.duckdb


def create_table(table: Table, dialect: Dialect) -> str:
    """DDL of a table in ``raw``."""
    columns = ", ".join(
        f"{identifier(column.name, dialect)} {spelling(column.type, dialect)}{'' if column.nullable else ' not null'}"
        for column in table.columns
    )
    return f"create table if not exists {address(table, dialect)} ({columns})"


def raw_columns(dialect: Dialect) -> str:
    """A query: table and column of every column in ``raw``, lower case."""
    schema = identifier(RAW, dialect).replace('"', "'")
    return f"select lower(table_name), lower(column_name) from information_schema.columns where table_schema = {schema}"


def add_columns(known: Iterable[tuple[str, str]], dialect: Dialect) -> list[str]:
    """DDL that adds to the tables of ``raw`` what their contracts have gained; ``known`` as :func:`raw_columns` gives it."""
    there = set(known)
    return [
        f"alter table {address(table, dialect)} add column if not exists {identifier(column.name, dialect)} "
        f"{spelling(column.type, dialect)}"
        for table in (*WAREHOUSE_TABLES, LOADS)
        for column in table.columns
        if column.nullable and (table.name, column.name) not in there
    ]


def columns_cast(table: Table, dialect: Dialect) -> str:
    """A select list: every column of the contract, cast to its type, in the contract's order."""
    return ", ".join(
        f"cast({identifier(column.name, dialect)} as {spelling(column.type, dialect)}) as "
        f"{identifier(column.name, dialect)}"
        for column in table.columns
    )


def merge(table: Table, stage: str, dialect: Dialect) -> str:
    """Merge ``stage`` on the contract's key: rows that differ are updated, new ones inserted, equal ones left alone."""
    values = [name for name in table.column_names if name not in table.key]
    names = [identifier(name, dialect) for name in table.column_names]
    differs = " or ".join(f"t.{name} is distinct from s.{name}" for name in _quoted(values, dialect))
    assign = ", ".join(f"{name} = s.{name}" for name in _quoted(values, dialect))
    return (
        f"merge into {address(table, dialect)} as t using {stage} as s on {_same_key(table, dialect)} "
        f"when matched and ({differs}) then update set {assign} "
        f"when not matched then insert ({', '.join(names)}) values ({', '.join(f's.{name}' for name in names)})"
    )


def delete_missing(table: Table, stage: str, dates: Sequence[dt.date], dialect: Dialect) -> str:
    """Delete the rows of ``dates`` that ``stage`` does not hold."""
    return (
        f"delete from {address(table, dialect)} as t where {within(dates, dialect, 't.')} "
        f"and not exists (select 1 from {stage} as s where {_same_key(table, dialect)})"
    )


def query_tag(doing: str, dates: Sequence[dt.date] | None = None, **more: str) -> str:
    """What Snowflake's query history says of a statement: JSON; ``dates`` are one, or the first and the last."""
    tag = {"app": "retail-platform", "doing": doing} | more
    if dates:
        first, last = min(dates), max(dates)
        tag["partition"] = str(first) if first == last else f"{first}..{last}"
    return json.dumps(tag)


def within(dates: Sequence[dt.date], dialect: Dialect, prefix: str = "") -> str:
    """The condition that the business date is one of ``dates``."""
    listed = ", ".join(f"date '{date}'" for date in dates)
    return f"{prefix}{identifier(BUSINESS_DATE, dialect)} in ({listed})" if dates else "1 = 0"


def repeated_keys(table: Table, stage: str, dialect: Dialect) -> str:
    """A query: how many keys ``stage`` holds more than once."""
    key = ", ".join(_quoted(table.key, dialect))
    return f"select count(*) from (select 1 from {stage} group by {key} having count(*) > 1) as repeated"


def checked_columns(table: Table) -> tuple[Column, ...]:
    """The columns whose sums are compared: numbers that are neither key nor provenance."""
    return tuple(
        column
        for column in table.columns
        if column.name not in (*table.key, *PROVENANCE_COLUMNS)
        and (column.type in (INTEGER, LONG) or column.type.spark.startswith("decimal"))
    )


def sums_by_date(table: Table, dated: str, dates: Sequence[dt.date], dialect: Dialect) -> str:
    """Rows and exact sums of the checked columns of ``dated``, a relation with business dates, on each of ``dates``.

    The sum of a column that is null in every row is 0.
    """
    date = identifier(BUSINESS_DATE, dialect)
    selected = [date, "count(*) as row_count"]
    for column in checked_columns(table):
        name = identifier(column.name, dialect)
        selected.append(f"coalesce(cast(sum({name}) as decimal(38,{_scale(column)})), 0) as {name}")
    return (
        f"select {', '.join(selected)} from {dated} as dated "
        f"where {within(dates, dialect)} group by {date} order by {date}"
    )


def by_partition(table: Table) -> bool:
    """Whether a row belongs to one business date; otherwise it lists those it touched in ``business_dates``."""
    return BUSINESS_DATE in table.partition_by


def dated(table: Table, relation: str, dialect: Dialect) -> str:
    """``relation``, which has the table's columns, with a row for each business date that a row is of."""
    if by_partition(table):
        return relation
    date, listed = _quoted((BUSINESS_DATE, "business_dates"), dialect)
    if dialect == "snowflake":
        # A scanner of Snowflake's that shows Parquet's own form of a list gives [{"list": [{"element": …}, …]}].
        flat = f"lateral flatten(input => coalesce(held.{listed}[0]:list, held.{listed})) as entry"
        value = "coalesce(entry.value:element, entry.value)"
        return f"(select held.*, cast({value} as date) as {date} from {relation} as held, {flat})"
    return f"(select *, unnest({listed}) as {date} from {relation})"


def all_dates(table: Table, relations: Sequence[str], dialect: Dialect) -> str:
    """A query: every business date that one of ``relations`` holds."""
    date = identifier(BUSINESS_DATE, dialect)
    return " union ".join(f"select {date} from {dated(table, each, dialect)} as dated" for each in relations)


def last_loads(table: Table, dates: Sequence[dt.date], dialect: Dialect) -> str:
    """A query: each of ``dates`` that was loaded, and the Delta version of its last load."""
    date, version, name, at = _quoted((BUSINESS_DATE, "delta_version", "table_name", "loaded_at"), dialect)
    return (
        f"select {date}, {version} from {address(LOADS, dialect)} "
        f"where {name} = '{table.path}' and {within(dates, dialect)} "
        f"qualify row_number() over (partition by {date} order by {at} desc) = 1"
    )


def _quoted(names: Iterable[str], dialect: Dialect) -> list[str]:
    return [identifier(name, dialect) for name in names]


def _same_key(table: Table, dialect: Dialect) -> str:
    return " and ".join(f"t.{name} = s.{name}" for name in _quoted(table.key, dialect))


def _scale(column: Column) -> int:
    return int(column.type.spark.removesuffix(")").split(",")[1]) if "," in column.type.spark else 0
