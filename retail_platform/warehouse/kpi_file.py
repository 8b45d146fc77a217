"""The daily KPI file, ``outputs/aggregates_daily.csv``: one row a business date, replaced atomically.

Where the figures come from is dbt's ``marts.agg_daily_kpis``; how they are proved is in ``tie_out``.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

from retail_platform.durable import replace_text
from retail_platform.errors import RetailError
from retail_platform.warehouse.protocol import Warehouse

HEADER = ("date", "orders", "revenue_usd", "avg_order_value_usd", "streaming_latency_ms")


@dataclass(frozen=True, slots=True)
class DailyKpi:
    """The KPIs of one business date.

    ``orders`` counts sales; ``revenue_usd`` is sales less returns in US dollars, in cents; ``avg_order_value_usd`` is
    ``None`` without orders; ``streaming_latency_ms`` is the median over the day's events of silver commit less Kafka
    append, in whole milliseconds, ``None`` when no batch of the day is in the ledger.
    """

    date: dt.date
    orders: int
    revenue_usd: Decimal
    avg_order_value_usd: Decimal | None
    streaming_latency_ms: int | None


def daily_kpis(warehouse: Warehouse, dates: Sequence[dt.date]) -> list[DailyKpi]:
    """The KPIs of ``dates`` from the marts, by date; a date without any event has none.

    Raises:
        RetailError: the revenue of a date is not known, because a currency has no rate.
    """
    listed = ", ".join(f"date '{date}'" for date in dates)
    within = f"business_date in ({listed})" if dates else "1 = 0"
    rows = warehouse.query(
        "select business_date, orders, revenue_usd, avg_order_value_usd, streaming_latency_ms "
        f"from marts.agg_daily_kpis where {within} order by business_date"
    ).to_pylist()
    unknown = [str(row["business_date"]) for row in rows if row["revenue_usd"] is None]
    if unknown:
        raise RetailError(
            f"revenue of {', '.join(unknown)} is unknown: a currency has no rate; "
            "add it to dbt_project/seeds/fx_rates.csv"
        )
    return [DailyKpi(*row.values()) for row in rows]


def read_daily(path: Path) -> list[DailyKpi]:
    """The rows of the file, by date; none when there is no file.

    Raises:
        RetailError: the file is not what :func:`upsert_daily` writes.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise _damaged(path, str(error)) from error
    header, *lines = list(csv.reader(io.StringIO(text))) or [[]]
    if tuple(header) != HEADER:
        raise _damaged(path, f"its first line must be {','.join(HEADER)}")
    rows = [_parsed(path, number, values) for number, values in enumerate(lines, start=2)]
    if len({row.date for row in rows}) < len(rows):
        raise _damaged(path, "a date is there twice")
    return sorted(rows, key=lambda row: row.date)


def upsert_daily(path: Path, rows: Sequence[DailyKpi], dates: Collection[dt.date] = ()) -> None:
    """Put ``rows`` into the file, each in the place of its date's row; the others stay; a crash leaves old or new.

    ``dates`` are the dates that were materialized: one that has no row any more (nothing happened on it) loses the row
    that it had.

    Raises:
        RetailError: the file that is there is damaged; it is left as it is.
    """
    kept = {row.date: row for row in read_daily(path) if row.date not in dates}
    kept.update({row.date: row for row in rows})
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    writer.writerows(_values(row) for _, row in sorted(kept.items()))
    replace_text(path, text.getvalue())


def _values(row: DailyKpi) -> list[str]:
    average = "" if row.avg_order_value_usd is None else f"{row.avg_order_value_usd:.2f}"
    latency = "" if row.streaming_latency_ms is None else str(row.streaming_latency_ms)
    return [row.date.isoformat(), str(row.orders), f"{row.revenue_usd:.2f}", average, latency]


def _parsed(path: Path, number: int, values: Sequence[str]) -> DailyKpi:
    try:
        date, orders, revenue, average, latency = values
        return DailyKpi(
            dt.date.fromisoformat(date),
            int(orders),
            Decimal(revenue),
            Decimal(average) if average else None,
            int(latency) if latency else None,
        )
    except (ValueError, InvalidOperation) as error:
        raise _damaged(path, f"line {number} is not a row of daily KPIs") from error


def _damaged(path: Path, why: str) -> RetailError:
    return RetailError(f"{path} is damaged ({why}); move it away and materialize its days again (`retail run`)")
