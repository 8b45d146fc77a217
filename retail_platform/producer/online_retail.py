"""UCI Online Retail invoices as transactions and inventory movements; pure but for reading the file."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import json
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from zoneinfo import ZoneInfo

from retail_platform.contracts import INVENTORY, TRANSACTIONS
from retail_platform.errors import RetailError
from retail_platform.producer.message import Message

COLUMNS = ["InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country"]
STORE = "UK-WEB"

_LONDON = ZoneInfo("Europe/London")
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "online-retail.retail-platform")
_SAMPLE = Path(__file__).parent / "sample_data" / "online_retail"


@dataclass(frozen=True, slots=True)
class Row:
    """One invoice line as the file has it, typed; ``position`` counts from 0 within its invoice."""

    position: int
    product: str
    description: str
    quantity: int
    time: dt.datetime
    price: Decimal
    customer: str
    country: str


@dataclass(slots=True)
class Invoices:
    """The file's rows by invoice, and ``(line number, reason)`` of each row that is broken."""

    rows: int = 0
    by_number: dict[str, list[Row]] = field(default_factory=dict)
    broken: list[tuple[int, str]] = field(default_factory=list)


def sample_file() -> Path:
    """The December 2010 sample, a gzipped CSV file."""
    return _SAMPLE / "2010-12.csv.gz"


def sample_expected_daily() -> Path:
    """The daily KPIs that the sample must come to, a CSV file."""
    return _SAMPLE / "expected_daily_2010-12.csv"


def read(path: Path) -> Invoices:
    """Read a CSV file, gzipped or not.

    Raises:
        RetailError: the file is missing, unreadable, or has another header.
    """
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as stream:
            data = stream.read()
    except (OSError, EOFError) as error:
        raise RetailError(f"{path} cannot be read ({error}); give an Online Retail CSV file") from error
    reader = csv.reader(_text(line) for line in data.splitlines(keepends=True))
    if [name.strip().lstrip("\ufeff") for name in next(reader, [])] != COLUMNS:
        raise RetailError(f"{path} is not an Online Retail file; its first line must be {','.join(COLUMNS)}")
    invoices = Invoices()
    for values in reader:
        invoices.rows += 1
        try:
            _add(invoices, values)
        except (ValueError, InvalidOperation) as error:
            invoices.broken.append((reader.line_num, str(error) or "is not a number"))
    return invoices


def messages(invoices: Invoices) -> list[Message]:
    """Every event of the invoices, in the order of their times."""
    timed: list[tuple[dt.datetime, Message]] = []
    for number, rows in invoices.by_number.items():
        cancelled = number.startswith("C")
        stock = [row for row in rows if not cancelled and row.quantity < 0]
        lines = [row for row in rows if cancelled or row.quantity >= 0]
        if lines:
            time = min(row.time for row in rows)
            timed.append((time, _transaction(number, lines, time)))
        timed.extend((row.time, _movement(number, row)) for row in stock)
    return [message for _, message in sorted(timed, key=lambda pair: pair[0])]


def _text(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line.decode("latin-1")


def _add(invoices: Invoices, values: list[str]) -> None:
    if len(values) != len(COLUMNS):
        raise ValueError(f"has {len(values)} columns, not {len(COLUMNS)}")
    number, product, description, quantity, time, price, customer, country = (value.strip() for value in values)
    if not number:
        raise ValueError("InvoiceNo is empty")
    amount = Decimal(price)
    if not amount.is_finite():
        raise ValueError("UnitPrice is not a number")
    local = dt.datetime.fromisoformat(time).replace(tzinfo=_LONDON)
    rows = invoices.by_number.get(number, [])
    row = Row(len(rows), product, description, int(quantity), local, amount, customer.removesuffix(".0"), country)
    invoices.by_number.setdefault(number, rows).append(row)


def _transaction(number: str, rows: Iterable[Row], time: dt.datetime) -> Message:
    lines = list(rows)
    event: dict[str, object] = {
        "event_id": str(uuid.uuid5(_NAMESPACE, number)),
        "event_type": "return" if number.startswith("C") else "sale",
        "transaction_id": number,
        "event_time": time.isoformat(),
        "channel": "ecommerce",
        "store_id": STORE,
        "payment": {"method": "card"},
        "location": {"country": lines[0].country, "region": lines[0].country},
        "currency": "GBP",
        "items": [_item(row) for row in lines],
    }
    customer = next((row.customer for row in lines if row.customer), None)
    if customer:
        event["customer_id"] = customer
    return Message(TRANSACTIONS.topic, number.encode(), _json(event), TRANSACTIONS.schema, "transaction")


def _item(row: Row) -> dict[str, object]:
    item: dict[str, object] = {
        "product_id": row.product,
        "quantity": abs(row.quantity),
        "unit_price": f"{row.price:f}",
        "discount": "0",
    }
    return item | ({"description": row.description} if row.description else {})


def _movement(number: str, row: Row) -> Message:
    event = {
        "event_id": str(uuid.uuid5(_NAMESPACE, f"{number}:{row.position}")),
        "event_time": row.time.isoformat(),
        "store_id": STORE,
        "product_id": row.product,
        "movement": "adjustment",
        "quantity": row.quantity,
        "reference": number,
    }
    return Message(INVENTORY.topic, f"{STORE}:{row.product}".encode(), _json(event), INVENTORY.schema, "movement")


def _json(event: dict[str, object]) -> bytes:
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()
