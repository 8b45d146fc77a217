"""UCI Online Retail invoices as transactions and inventory movements; pure but for reading the file."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

from retail_platform.errors import RetailError
from retail_platform.producer import message
from retail_platform.producer.message import Message

COLUMNS = ["InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country"]
STORE = "UK-WEB"

_LONDON = ZoneInfo("Europe/London")
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "online-retail.retail-platform")
_NUMBER = re.compile(r"[+-]?[0-9]{1,12}(\.[0-9]{1,12})?")
_US_TIME = re.compile(r"([0-9]{1,2})/([0-9]{1,2})/([0-9]{2}|[0-9]{4}) ([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?")
_MOST_LINES_IN_A_ROW = 5
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
    lines = [_text(line) for line in data.splitlines(keepends=True)]
    if not lines or _header(lines[0]) != COLUMNS:
        raise RetailError(f"{path} is not an Online Retail file; its first line must be {','.join(COLUMNS)}")
    invoices = Invoices()
    index = 1
    while index < len(lines):
        index += _take(invoices, lines, index)
    return invoices


def messages(invoices: Invoices) -> list[Message]:
    """Every event of the invoices, in the order of their times; ``due`` counts from the first."""
    begins = min((row.time for rows in invoices.by_number.values() for row in rows), default=None)
    return sorted(_unordered(invoices, begins), key=lambda event: event.due) if begins else []


def _unordered(invoices: Invoices, begins: dt.datetime) -> Iterator[Message]:
    for number, rows in invoices.by_number.items():
        cancelled = number.startswith("C")
        lines = [row for row in rows if cancelled or row.quantity > 0]
        if lines:
            time = min(row.time for row in rows)
            yield _transaction(number, lines, time, _seconds(time, begins))
        for row in rows:
            if not cancelled and row.quantity < 0:
                yield _movement(number, row, _seconds(row.time, begins))


def _seconds(time: dt.datetime, begins: dt.datetime) -> float:
    """Seconds between two instants, across a change of the clocks too."""
    return time.timestamp() - begins.timestamp()


def _text(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line.decode("latin-1")


def _header(line: str) -> list[str]:
    return [name.strip() for name in next(csv.reader([line.lstrip("\ufeff")]), [])]


def _take(invoices: Invoices, lines: list[str], index: int) -> int:
    """Take in the row that begins at a line, or why it is broken; says how many lines it has."""
    length = 1
    if not lines[index].strip():
        return length
    invoices.rows += 1
    try:
        length, values = _row(lines, index)
        _add(invoices, values)
    except ValueError as error:
        invoices.broken.append((index + 1, str(error)))
    return length


def _row(lines: list[str], index: int) -> tuple[int, list[str]]:
    """(how many lines, values) of the row that begins there; it has several when a quoted value holds line breaks.

    Each row is parsed on its own: a quote that is opened and never closed breaks one row, not the rest of the file.
    """
    problems = []
    for length in range(1, _MOST_LINES_IN_A_ROW + 1):
        try:
            values = next(csv.reader(lines[index : index + length], strict=True))
        except csv.Error as error:
            problems.append(error)
            continue
        if length == 1 or len(values) == len(COLUMNS):
            return length, values
    raise ValueError(f"is not CSV ({problems[0]})")


def _add(invoices: Invoices, values: list[str]) -> None:
    if len(values) != len(COLUMNS):
        raise ValueError(f"has {len(values)} columns, not {len(COLUMNS)}")
    number, product, description, quantity, time, price, customer, country = (value.strip() for value in values)
    for name, value in (("InvoiceNo", number), ("StockCode", product), ("Country", country)):
        if not value:
            raise ValueError(f"{name} is empty")
    rows = invoices.by_number.get(number, [])
    row = Row(
        position=len(rows),
        product=product,
        description=description,
        quantity=_quantity(quantity),
        time=_london(time),
        price=_number("UnitPrice", price),
        customer=customer.removesuffix(".0"),
        country=country,
    )
    invoices.by_number.setdefault(number, rows).append(row)


def _number(name: str, text: str) -> Decimal:
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"{name} {text[:40]!r} is not a number")
    return Decimal(text)


def _quantity(text: str) -> int:
    number = _number("Quantity", text)
    if number != int(number) or not number:
        raise ValueError(f"Quantity {text!r} is not a whole number other than 0")
    return int(number)


def _london(text: str) -> dt.datetime:
    """London's time: ISO 8601, or month/day/year as in the CSV file that UCI publishes."""
    us = _US_TIME.fullmatch(text)
    try:
        if us is None:
            moment = dt.datetime.fromisoformat(text)
        else:
            month, day, year, hour, minute, second = (int(part or 0) for part in us.groups())
            moment = dt.datetime(year if year > 99 else 2000 + year, month, day, hour, minute, second)  # noqa: DTZ001, PLR2004
    except ValueError:
        raise ValueError(f"InvoiceDate {text[:40]!r} is not a date and time") from None
    return moment.astimezone(_LONDON) if moment.tzinfo else moment.replace(tzinfo=_LONDON)


def _transaction(number: str, lines: list[Row], time: dt.datetime, due: float) -> Message:
    event: message.Event = {
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
    return message.transaction(event, "transaction", due)


def _item(row: Row) -> dict[str, object]:
    item: dict[str, object] = {
        "product_id": row.product,
        "quantity": abs(row.quantity),
        "unit_price": f"{row.price:f}",
        "discount": "0",
    }
    return item | ({"description": row.description} if row.description else {})


def _movement(number: str, row: Row, due: float) -> Message:
    event: message.Event = {
        "event_id": str(uuid.uuid5(_NAMESPACE, f"{number}:{row.position}")),
        "event_time": row.time.isoformat(),
        "store_id": STORE,
        "product_id": row.product,
        "movement": "adjustment",
        "quantity": row.quantity,
        "reference": number,
    }
    return message.movement(event, "movement", due)
