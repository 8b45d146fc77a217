"""Online Retail rows become exactly the events that the daily figures are made of."""

import csv
import json
from collections import Counter
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

from retail_platform.producer import online_retail

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
