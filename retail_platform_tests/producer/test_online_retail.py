"""Online Retail rows become exactly the events that the daily figures are made of."""

import csv
import json
from collections import Counter
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from retail_platform.errors import RetailError
from retail_platform.producer import online_retail
from retail_platform_tests.producer.contract_validator import problems

GBP_USD = Decimal("1.559576")
HEADER = ",".join(online_retail.COLUMNS)


def test_the_samples_events_sum_to_the_expected_orders_and_revenue() -> None:
    orders: Counter[str] = Counter()
    revenue: dict[str, Decimal] = {}
    for message in online_retail.messages(online_retail.read(online_retail.sample_file())):
        if message.label != "transaction":
            continue
        event = json.loads(message.value or b"")
        day, sign = event["event_time"][:10], 1 if event["event_type"] == "sale" else -1
        orders[day] += sign == 1
        amount = sum(item["quantity"] * Decimal(item["unit_price"]) for item in event["items"])
        revenue[day] = revenue.get(day, Decimal(0)) + sign * amount * GBP_USD
    with online_retail.sample_expected_daily().open() as stream:
        for row in csv.DictReader(stream):
            assert orders[row["date"]] == int(row["orders"])
            cents = revenue[row["date"]].quantize(Decimal("0.01"), ROUND_HALF_UP)
            assert cents == Decimal(row["revenue_usd"])


def test_a_broken_row_is_reported_with_its_line_and_the_rest_is_sent(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    good = "1,A,x,2,2010-12-01 08:26:00,2.55,17850.0,France"
    path.write_text(
        "\n".join([HEADER, good, "2,A,x,two,2010-12-01 08:26:00,1,,France", "3,A", good.replace("1", "", 1)])
    )
    invoices = online_retail.read(path)
    assert (invoices.rows, [line for line, _ in invoices.broken]) == (4, [3, 4, 5])
    assert len(online_retail.messages(invoices)) == 1


def rows_of(tmp_path: Path, *rows: str, header: str = HEADER, encoding: str = "utf-8", end: str = "\n") -> Path:
    path = tmp_path / "rows.csv"
    path.write_bytes(end.join([header, *rows, ""]).encode(encoding))
    return path


def events_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(message.value or b"") for message in online_retail.messages(online_retail.read(path))]


@pytest.mark.parametrize(
    ("text", "event_time"),
    [
        ("2010-12-01 08:26:00", "2010-12-01T08:26:00+00:00"),
        ("2011-06-01T08:26", "2011-06-01T08:26:00+01:00"),
        ("12/1/2010 8:26", "2010-12-01T08:26:00+00:00"),
        ("6/25/2011 18:05:30", "2011-06-25T18:05:30+01:00"),
        ("12/1/10 8:26", "2010-12-01T08:26:00+00:00"),
    ],
)
def test_an_invoice_date_is_londons_time_in_iso_or_month_day_year(tmp_path: Path, text: str, event_time: str) -> None:
    [event] = events_of(rows_of(tmp_path, f"1,A,x,2,{text},2.55,17850,France"))
    assert event["event_time"] == event_time


def test_crlf_latin_1_a_byte_order_mark_and_quoted_commas_are_read(tmp_path: Path) -> None:
    row = '1,A,"CAFÉ, ""BLUE""",2,2010-12-01 08:26:00,2.55,17850,France'
    [latin] = events_of(rows_of(tmp_path, row, encoding="latin-1", end="\r\n"))
    [marked] = events_of(rows_of(tmp_path, row, encoding="utf-8-sig"))
    assert latin == marked
    assert latin["items"][0]["description"] == 'CAFÉ, "BLUE"'


def test_a_quoted_line_break_belongs_to_its_row(tmp_path: Path) -> None:
    path = rows_of(tmp_path, '1,A,"two\nlines",2,2010-12-01 08:26:00,2.55,,France', "2,A,x,two,,,,")
    assert [item["description"] for event in events_of(path) for item in event["items"]] == ["two\nlines"]
    assert [line for line, _ in online_retail.read(path).broken] == [4]


def test_a_quote_that_is_never_closed_breaks_its_own_row_only(tmp_path: Path) -> None:
    good = "{},A,x,2,2010-12-01 08:26:00,2.55,17850,France"
    rows = [good.format(1), '2,A,"x,2,2010-12-01 08:26:00,2.55,17850,France', *(good.format(n) for n in range(3, 10))]
    invoices = online_retail.read(rows_of(tmp_path, *rows))
    assert set(invoices.by_number) == {"1", *map(str, range(3, 10))}
    assert [line for line, _ in invoices.broken] == [3]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (",A,x,2,2010-12-01 08:26:00,1,,France", "InvoiceNo is empty"),
        ("1,,x,2,2010-12-01 08:26:00,1,,France", "StockCode is empty"),
        ("1,A,x,2,2010-12-01 08:26:00,1,,", "Country is empty"),
        ("1,A,x,2.5,2010-12-01 08:26:00,1,,France", "Quantity '2.5' is not a whole number"),
        ("1,A,x,0,2010-12-01 08:26:00,1,,France", "Quantity '0' is not a whole number"),
        ("1,A,x,2,2010-12-01 08:26:00,1e400000000,,France", "UnitPrice '1e400000000' is not a number"),
        ("1,A,x,2,2010-12-01 08:26:00,nan,,France", "UnitPrice 'nan' is not a number"),
        ("1,A,x,2,13/1/2010 8:26,1,,France", "InvoiceDate '13/1/2010 8:26' is not a date"),
        ("1,A,x,2,,1,,France", "InvoiceDate '' is not a date"),
        ("1,A,x,2,2010-12-01 08:26:00,1,,France,more", "9 columns"),
    ],
)
def test_each_broken_row_says_why(tmp_path: Path, row: str, reason: str) -> None:
    invoices = online_retail.read(rows_of(tmp_path, row))
    assert [line for line, _ in invoices.broken] == [2]
    assert reason in invoices.broken[0][1]
    assert online_retail.messages(invoices) == []


@given(st.binary(max_size=400))
@hypothesis_settings(max_examples=200, deadline=None)
def test_whatever_the_bytes_every_row_is_either_read_or_reported(tmp_path_factory: Any, junk: bytes) -> None:
    path = tmp_path_factory.mktemp("junk") / "rows.csv"
    path.write_bytes(HEADER.encode() + b"\n" + junk)
    invoices = online_retail.read(path)
    assert invoices.rows == len(invoices.broken) + sum(map(len, invoices.by_number.values()))


def test_a_cancellation_is_a_return_and_a_negative_row_of_a_sale_an_adjustment(tmp_path: Path) -> None:
    path = rows_of(
        tmp_path,
        "C1,A,x,-2,2010-12-01 08:26:00,2.55,17850,France",
        "2,A,x,3,2010-12-01 09:00:00,2.55,,France",
        "2,B,broken,-4,2010-12-01 08:59:00,0,,France",
        "3,B,lost,-5,2010-12-01 10:00:00,0,,France",
    )
    returned, sold, adjusted, lost = events_of(path)
    assert (returned["event_type"], returned["items"][0]["quantity"]) == ("return", 2)
    assert (sold["event_type"], sold["event_time"], len(sold["items"])) == ("sale", "2010-12-01T08:59:00+00:00", 1)
    assert [(e["movement"], e["quantity"], e["reference"]) for e in (adjusted, lost)] == [
        ("adjustment", -4, "2"),
        ("adjustment", -5, "3"),
    ]


def test_a_negative_price_is_sent_for_ingest_to_refuse_the_whole_event(tmp_path: Path) -> None:
    path = rows_of(
        tmp_path, "A1,B,Adjust bad debt,1,2010-12-01 08:26:00,-11062.06,,UK", "A1,C,x,1,2010-12-01 08:26:00,5,,UK"
    )
    [message] = online_retail.messages(online_retail.read(path))
    assert problems(message) == ["value:items.unit_price='-11062.06'"]


def test_the_same_file_gives_the_same_messages_with_ids_of_the_invoice_alone(tmp_path: Path) -> None:
    row = "{},A,x,2,{},2.55,17850,France"
    [one] = events_of(rows_of(tmp_path, row.format(536365, "2010-12-01 08:26:00")))
    [other] = events_of(rows_of(tmp_path, row.format(536365, "2010-12-02 10:00:00")))
    assert one["event_id"] == other["event_id"]
    sample = online_retail.sample_file()
    assert online_retail.messages(online_retail.read(sample)) == online_retail.messages(online_retail.read(sample))


def test_every_event_of_the_sample_is_valid_and_in_the_order_of_its_time() -> None:
    messages = online_retail.messages(online_retail.read(online_retail.sample_file()))
    assert [problem for message in messages for problem in problems(message)] == []
    assert [message.due for message in messages] == sorted(message.due for message in messages)


@pytest.mark.parametrize("content", [b"", b"a,b,c\n1,2,3\n"])
def test_another_file_is_refused_with_the_header_that_it_needs(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.csv"
    path.write_bytes(content)
    with pytest.raises(RetailError, match="InvoiceNo,StockCode"):
        online_retail.read(path)


def test_a_missing_file_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(RetailError, match="cannot be read"):
        online_retail.read(tmp_path / "none.csv")
