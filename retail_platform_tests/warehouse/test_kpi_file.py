import datetime as dt
import os
from decimal import Decimal
from pathlib import Path

import pytest

from retail_platform.errors import RetailError
from retail_platform.warehouse.kpi_file import DailyKpi, read_daily, upsert_daily

FIRST, SECOND, THIRD = (dt.date(2010, 12, day) for day in (1, 2, 3))


def kpi(date: dt.date, revenue: str = "10.00", orders: int = 2, latency: int | None = 42) -> DailyKpi:
    average = Decimal("5.00") if orders else None
    return DailyKpi(date, orders, Decimal(revenue), average, latency)


def test_the_file_has_one_sorted_row_a_date(tmp_path: Path) -> None:
    path = tmp_path / "outputs" / "kpis.csv"
    upsert_daily(path, [kpi(SECOND), kpi(FIRST, "1234.5")])
    assert path.read_text() == (
        "date,orders,revenue_usd,avg_order_value_usd,streaming_latency_ms\n"
        "2010-12-01,2,1234.50,5.00,42\n"
        "2010-12-02,2,10.00,5.00,42\n"
    )


def test_a_rerun_replaces_its_row_and_leaves_the_others(tmp_path: Path) -> None:
    path = tmp_path / "kpis.csv"
    upsert_daily(path, [kpi(FIRST), kpi(SECOND)])
    upsert_daily(path, [kpi(SECOND, "99.00"), kpi(THIRD)], [SECOND, THIRD])
    assert read_daily(path) == [kpi(FIRST), kpi(SECOND, "99.00"), kpi(THIRD)]


def test_a_date_on_which_nothing_happened_any_more_loses_its_row(tmp_path: Path) -> None:
    path = tmp_path / "kpis.csv"
    upsert_daily(path, [kpi(FIRST), kpi(SECOND)])
    upsert_daily(path, [], [SECOND])
    assert read_daily(path) == [kpi(FIRST)]


def test_a_day_of_returns_only_has_no_average_and_an_unknown_latency_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "kpis.csv"
    upsert_daily(path, [kpi(FIRST, "-3.00", orders=0, latency=None)])
    assert path.read_text().splitlines()[1] == "2010-12-01,0,-3.00,,"
    assert read_daily(path) == [kpi(FIRST, "-3.00", orders=0, latency=None)]


@pytest.mark.parametrize(
    "damage",
    [
        "date,orders\n2010-12-01,2\n",
        "date,orders,revenue_usd,avg_order_value_usd,streaming_latency_ms\n2010-12-01,two,1,1,1\n",
        "date,orders,revenue_usd,avg_order_value_usd,streaming_latency_ms\n2010-12-01,2\n",
        "date,orders,revenue_usd,avg_order_value_usd,streaming_latency_ms\n2010-12-01,2,x,1,1\n",
        "date,orders,revenue_usd,avg_order_value_usd,streaming_latency_ms\n" + "2010-12-01,2,1,1,1\n" * 2,
        "",
        "\udcff\udcfe",
    ],
)
def test_a_damaged_file_is_one_clear_error_and_stays_as_it_is(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "kpis.csv"
    path.write_bytes(damage.encode(errors="surrogateescape"))
    before = path.read_bytes()
    with pytest.raises(RetailError, match=r"kpis.csv is damaged .*; move it away"):
        upsert_daily(path, [kpi(FIRST)])
    assert path.read_bytes() == before


def test_a_write_that_fails_leaves_the_old_file_and_no_draft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "kpis.csv"
    upsert_daily(path, [kpi(FIRST)])

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        upsert_daily(path, [kpi(SECOND)])
    assert read_daily(path) == [kpi(FIRST)]
    assert [entry.name for entry in tmp_path.iterdir()] == ["kpis.csv"]
