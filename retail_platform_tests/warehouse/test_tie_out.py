import csv
import datetime as dt
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from retail_platform.contracts import INGEST_BATCHES
from retail_platform.errors import RetailError
from retail_platform.lakehouse.manifest import manifest
from retail_platform.producer import online_retail
from retail_platform.settings import FX_RATES, Settings
from retail_platform.warehouse.kpi_file import DailyKpi
from retail_platform.warehouse.tie_out import differences, recompute
from retail_platform_tests.warehouse.silver import COMMITTED, LINES, Row, batch, line, rows_of, write_lake

FIRST, SECOND = dt.date(2010, 12, 1), dt.date(2010, 12, 2)


@pytest.fixture
def rates(tmp_path: Path) -> Path:
    path = tmp_path / "rates.csv"
    path.write_text("currency,valid_from,usd_per_unit\nGBP,2010-12-02,1.5\nGBP,2010-11-01,2\n")
    return path


def recomputed(settings: Settings, rates: Path, lines: list[Row], batches: list[Row] | None = None) -> list[DailyKpi]:
    write_lake(settings, lines, batches=batches or [])
    return recompute(manifest(settings, LINES), manifest(settings, INGEST_BATCHES), rates)


def test_the_sample_comes_to_its_expected_figures(settings: Settings) -> None:
    lines, _ = rows_of(online_retail.messages(online_retail.read(online_retail.sample_file())))
    with online_retail.sample_expected_daily().open() as file:
        expected = [
            (row["date"], int(row["orders"]), Decimal(row["revenue_usd"]), Decimal(row["avg_order_value_usd"]))
            for row in csv.DictReader(file)
        ]
    found = recomputed(settings, FX_RATES, lines)
    assert [(str(row.date), row.orders, row.revenue_usd, row.avg_order_value_usd) for row in found] == expected


def test_a_rate_holds_from_its_date_until_the_next_one(settings: Settings, rates: Path) -> None:
    found = recomputed(settings, rates, [line("a", FIRST), line("b", SECOND), line("c", SECOND, currency="USD")])
    assert [row.revenue_usd for row in found] == [Decimal("20.00"), Decimal("25.00")]


def test_returns_are_taken_off_and_a_day_of_returns_has_no_average(settings: Settings, rates: Path) -> None:
    lines = [
        line("a", FIRST, quantity=3),
        line("b", FIRST, event_type="return"),
        line("c", SECOND, event_type="return"),
    ]
    found = recomputed(settings, rates, lines)
    assert [(row.orders, row.revenue_usd, row.avg_order_value_usd) for row in found] == [
        (1, Decimal("40.00"), Decimal("40.00")),
        (0, Decimal("-15.00"), None),
    ]


def test_rounding_is_half_up_and_once_at_the_end(settings: Settings, rates: Path) -> None:
    cent = {"currency": "USD", "unit_price": Decimal("0.0050")}
    found = recomputed(settings, rates, [line(name, FIRST, **cent) for name in "abc"])
    assert (found[0].revenue_usd, found[0].avg_order_value_usd) == (Decimal("0.02"), Decimal("0.01"))


def test_latency_is_the_median_of_the_days_events_not_of_their_lines(settings: Settings, rates: Path) -> None:
    def appended(event_id: str, milliseconds: int, lines: int = 1) -> list[Row]:
        time = COMMITTED - dt.timedelta(milliseconds=milliseconds)
        return [line(event_id, FIRST, number, append_time=time) for number in range(1, lines + 1)]

    lines = [*appended("slow", 5_000, lines=9), *appended("a", 100), *appended("b", 301), *appended("c", 200)]
    assert recomputed(settings, rates, lines)[0].streaming_latency_ms == 251


def test_latency_is_unknown_when_the_ledger_has_not_the_batch(settings: Settings, rates: Path) -> None:
    found = recomputed(settings, rates, [line("a", FIRST)], [batch(7, [FIRST])])
    assert found[0].streaming_latency_ms is None


@pytest.mark.parametrize(("currency", "date"), [("JPY", FIRST), ("GBP", dt.date(2010, 10, 31))])
def test_a_currency_without_a_rate_is_named(settings: Settings, rates: Path, currency: str, date: dt.date) -> None:
    with pytest.raises(RetailError, match=f"{currency} has no exchange rate on {date}"):
        recomputed(settings, rates, [line("a", date, currency=currency)])


def test_a_table_without_rows_has_no_days(settings: Settings, rates: Path) -> None:
    assert recomputed(settings, rates, []) == []


def test_differences_are_named_by_date_and_figure() -> None:
    row = DailyKpi(FIRST, 2, Decimal("10.00"), Decimal("5.00"), 42)
    assert differences([row], [row]) == []
    assert [str(found) for found in differences([replace(row, revenue_usd=Decimal("10.01"))], [row])] == [
        "marts/agg_daily_kpis 2010-12-01: revenue_usd is 10.01, silver has 10.00"
    ]
    assert "marts/agg_daily_kpis 2010-12-01: orders is missing, silver has 2" in map(str, differences([], [row]))
