"""Writes what the ingest writes, without Spark: contract-shaped rows, as Delta tables of a test's own lake."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pyarrow as pa
from deltalake import write_deltalake

from retail_platform.contracts import INGEST_BATCHES, INVENTORY, TRANSACTIONS, WAREHOUSE_TABLES, Table, TopicContract
from retail_platform.contracts import model as contract_types
from retail_platform.lakehouse import location
from retail_platform.producer.message import Message
from retail_platform.settings import Settings

Row = dict[str, Any]

LINES = TRANSACTIONS.silver_table
MOVEMENTS = INVENTORY.silver_table
QUERY = "test-query"
COMMITTED = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)

_ARROW = {
    contract_types.STRING: pa.string(),
    contract_types.INTEGER: pa.int32(),
    contract_types.LONG: pa.int64(),
    contract_types.DOUBLE: pa.float64(),
    contract_types.DATE: pa.date32(),
    contract_types.TIMESTAMP: pa.timestamp("us", "UTC"),
    contract_types.DATES: pa.list_(pa.date32()),
    contract_types.MONEY: pa.decimal128(18, 4),
    contract_types.decimal(28, 4): pa.decimal128(28, 4),
}


def line(event_id: str, date: dt.date, /, number: int = 1, **values: Any) -> Row:
    """One silver line, its amounts computed; anything may be overridden by name."""
    row: Row = dict.fromkeys(LINES.column_names)
    row |= {
        "event_id": event_id,
        "event_type": "sale",
        "transaction_id": f"T-{event_id}",
        "event_time": dt.datetime.combine(date, dt.time(10, 30), dt.UTC),
        "channel": "pos",
        "store_id": "S1",
        "payment_method": "card",
        "country": "United Kingdom",
        "currency": "GBP",
        "line_number": number,
        "product_id": "P1",
        "quantity": 1,
        "unit_price": Decimal("10.0000"),
        "discount": Decimal("0.0000"),
        "business_date": date,
        "topic": TRANSACTIONS.topic,
        "partition": 0,
        "offset": 0,
        "append_time": COMMITTED - dt.timedelta(milliseconds=500),
        "query_id": QUERY,
        "batch_id": 0,
    } | values
    row["gross_amount"] = row["quantity"] * row["unit_price"]
    row["net_amount"] = row["gross_amount"] - row["discount"]
    return row


def batch(batch_id: int, dates: Iterable[dt.date], **values: Any) -> Row:
    """One row of the ingest's ledger."""
    return {
        "query_id": QUERY,
        "batch_id": batch_id,
        "query_name": LINES.path,
        "topic": TRANSACTIONS.topic,
        "start_offsets": None,
        "end_offsets": "{}",
        "rows_in": 1,
        "events": 1,
        "refused": 0,
        "duplicates": 0,
        "business_dates": sorted(dates),
        "started_at": COMMITTED - dt.timedelta(seconds=1),
        "committed_at": COMMITTED,
    } | values


def rows_of(messages: Iterable[Message]) -> tuple[list[Row], list[Row]]:
    """Silver lines and movements of valid events. Each was appended 1 to 1,000 ms before its batch was committed."""
    lines: list[Row] = []
    movements: list[Row] = []
    for offset, message in enumerate(messages):
        event = json.loads(message.value or b"")
        header = {
            "event_id": event["event_id"],
            "event_time": dt.datetime.fromisoformat(event["event_time"]).astimezone(dt.UTC),
            "store_id": event["store_id"],
            "topic": message.topic,
            "partition": 0,
            "offset": offset,
            "append_time": COMMITTED - dt.timedelta(milliseconds=offset * 7 % 1000 + 1),
            "query_id": QUERY,
            "batch_id": 0,
        }
        header["business_date"] = header["event_time"].date()
        if message.topic == INVENTORY.topic:
            same = {name: event[name] for name in ("product_id", "movement", "quantity", "reference")}
            movements.append({**header, **same})
            continue
        header |= {
            name: event.get(name) for name in ("event_type", "transaction_id", "channel", "customer_id", "currency")
        }
        header |= {"payment_method": event["payment"]["method"], "card_token": event["payment"].get("card_token")}
        header |= {"register_id": event.get("register_id"), **event["location"]}
        for number, item in enumerate(event["items"], start=1):
            money = {name: Decimal(item[name]) for name in ("unit_price", "discount")}
            lines.append(line(event["event_id"], header["business_date"], number, **{**header, **item, **money}))
    return lines, movements


def row_of(contract: TopicContract, event: Mapping[str, Any], offset: int) -> Row:
    """The silver row of a valid event without lines."""
    row: Row = {leaf.column: _typed(leaf.type, event.get(leaf.path)) for leaf in contract.header_leaves}
    return row | {
        "business_date": row["event_time"].date(),
        "topic": contract.topic,
        "partition": 0,
        "offset": offset,
        "append_time": COMMITTED - dt.timedelta(milliseconds=500),
        "query_id": QUERY,
        "batch_id": 0,
    }


def _typed(kind: contract_types.Scalar, value: Any) -> Any:
    if value is None:
        return None
    if isinstance(kind, contract_types.Instant):
        return dt.datetime.fromisoformat(value)
    return Decimal(value) if isinstance(kind, contract_types.Amount) else value


def write(
    settings: Settings, table: Table, rows: Sequence[Mapping[str, Any]], mode: str = "append", **options: Any
) -> None:
    """One commit of ``rows`` to a lake table."""
    schema = pa.schema([(column.name, _ARROW[column.type], column.nullable) for column in table.columns])
    data = pa.Table.from_pylist([dict(row) for row in rows], schema=schema)
    if settings.s3_bucket is None:
        (settings.lake_dir / table.path).parent.mkdir(parents=True, exist_ok=True)
    write_deltalake(
        location._delta_uri(settings, table),
        data,
        mode=mode,
        partition_by=list(table.partition_by) or None,
        storage_options=location._storage_options(settings),
        **options,
    )


def without(table: Table, column: str) -> Table:
    """The table as it was before its contract had gained a column."""
    return replace(table, columns=tuple(each for each in table.columns if each.name != column))


def replace_day(settings: Settings, table: Table, date: dt.date, rows: Sequence[Mapping[str, Any]]) -> None:
    """Derive a day again: its rows are replaced in one commit."""
    write(settings, table, rows, mode="overwrite", predicate=f"business_date = '{date}'")


def write_lake(
    settings: Settings, lines: Sequence[Row], movements: Sequence[Row] = (), batches: Sequence[Row] = ()
) -> None:
    """Every table that the warehouse loads; those not given are left empty."""
    rows = {
        LINES: lines,
        MOVEMENTS: movements,
        INGEST_BATCHES: batches or [batch(0, {row["business_date"] for row in lines})],
    }
    for table in WAREHOUSE_TABLES:
        write(settings, table, rows.get(table, ()))
