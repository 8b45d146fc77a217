"""The daily KPIs computed a second time, straight from silver and by other means than dbt, to compare with the marts.

Sums per currency come from the Parquet files through an in-memory DuckDB; rates, rounding and division are Python's
exact decimals. Nothing of the warehouse or of dbt is read but the file of exchange rates.
"""

from __future__ import annotations

import bisect
import csv
import datetime as dt
import decimal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from decimal import Decimal
from pathlib import Path

import duckdb

from retail_platform.contracts import INGEST_BATCHES, TRANSACTIONS
from retail_platform.errors import RetailError
from retail_platform.lakehouse.location import let_read
from retail_platform.lakehouse.manifest import Manifest, manifest
from retail_platform.settings import FX_RATES, Settings
from retail_platform.warehouse.kpi_file import DailyKpi, daily_kpis
from retail_platform.warehouse.protocol import Difference, Warehouse

_LINES = TRANSACTIONS.silver_table
_MART = "marts/agg_daily_kpis"
_CENT = Decimal("0.01")
_EXACT = decimal.Context(prec=80, rounding=decimal.ROUND_HALF_UP)

_AMOUNTS = """
    select
        business_date,
        currency,
        count(distinct case when event_type = 'sale' then event_id end) as orders,
        sum(
            (case when event_type = 'sale' then 1 else -1 end)
            * (cast(quantity as decimal(38, 0)) * unit_price - discount)
        ) as net
    from read_parquet($files, hive_partitioning = true, hive_types = {'business_date': date})
    group by business_date, currency
    order by business_date, currency
"""

_LATENCIES = """
    with events as (
        select distinct event_id, business_date, query_id, batch_id, append_time
        from read_parquet($files, hive_partitioning = true, hive_types = {'business_date': date})
    )
    -- Whole milliseconds, as dbt's datediff counts them; epoch_ms would round a timestamp that has a zone.
    select
        business_date,
        median(epoch_us(batches.committed_at) // 1000 - epoch_us(events.append_time) // 1000) as latency_ms
    from events
    join read_parquet($batches) as batches using (query_id, batch_id)
    where batches.committed_at is not null
    group by business_date
"""


@dataclass(slots=True)
class _Day:
    orders: int = 0
    revenue: Decimal = field(default_factory=Decimal)


def tie_out(warehouse: Warehouse, settings: Settings, dates: Sequence[dt.date]) -> list[Difference]:
    """Where the KPIs of ``dates`` in the marts differ from silver at the versions that were loaded; empty when nowhere.

    Raises:
        RetailError: a date was never loaded, or a currency has no rate.
    """
    recomputed: list[DailyKpi] = []
    for (lines, batches), group in _by_versions(warehouse, dates).items():
        recomputed += recompute(
            manifest(settings, _LINES, group, lines), manifest(settings, INGEST_BATCHES, group, batches), FX_RATES
        )
    return differences(daily_kpis(warehouse, dates), recomputed)


def recompute(lines: Manifest, batches: Manifest, rates_file: Path) -> list[DailyKpi]:
    """The KPIs of every date that ``lines`` (of silver/transaction_lines) holds, by date.

    ``batches`` is a manifest of ops/ingest_batches; ``rates_file`` a CSV of ``currency,valid_from,usd_per_unit``.

    Raises:
        RetailError: a currency has no rate on a date; the message names both.
    """
    if not lines.files:
        return []
    rates = _Rates.read(rates_file)
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        let_read(connection, lines.file_system)
        amounts = connection.execute(_AMOUNTS, {"files": list(lines.files)}).fetchall()
        latencies = _latencies(connection, lines, batches)
    days: dict[dt.date, _Day] = {}
    for date, currency, orders, net in amounts:
        day = days.setdefault(date, _Day())
        day.orders += orders
        day.revenue = _EXACT.add(day.revenue, _EXACT.multiply(net, rates.usd_per_unit(currency, date)))
    return [
        DailyKpi(
            date,
            day.orders,
            _cents(day.revenue),
            _cents(_EXACT.divide(day.revenue, Decimal(day.orders))) if day.orders else None,
            latencies.get(date),
        )
        for date, day in sorted(days.items())
    ]


def differences(published: Sequence[DailyKpi], recomputed: Sequence[DailyKpi]) -> list[Difference]:
    """What differs between two lists of KPIs, one entry a figure, by date; empty when they are equal."""
    left, right = ({row.date: row for row in rows} for rows in (published, recomputed))
    return [
        Difference(
            _MART,
            date,
            name,
            expected=str(getattr(right.get(date), name, "nothing")),
            found=str(getattr(left.get(date), name, "missing")),
        )
        for date in sorted({*left, *right})
        for name in (entry.name for entry in fields(DailyKpi))
        if getattr(left.get(date), name, None) != getattr(right.get(date), name, None)
    ]


def _by_versions(warehouse: Warehouse, dates: Sequence[dt.date]) -> dict[tuple[int, int], list[dt.date]]:
    """``dates`` by the versions of lines and batches that they were loaded from."""
    lines, batches = (warehouse.loaded_versions(table, dates) for table in (_LINES, INGEST_BATCHES))
    never = sorted(set(dates) - (lines.keys() & batches.keys()))
    if never:
        raise RetailError(f"{', '.join(map(str, never))}: never loaded; load before checking (`retail run`)")
    groups: dict[tuple[int, int], list[dt.date]] = {}
    for date in dates:
        groups.setdefault((lines[date], batches[date]), []).append(date)
    return groups


def _latencies(connection: duckdb.DuckDBPyConnection, lines: Manifest, batches: Manifest) -> dict[dt.date, int]:
    if not batches.files:
        return {}
    rows = connection.execute(_LATENCIES, {"files": list(lines.files), "batches": list(batches.files)}).fetchall()
    return {date: int(Decimal(median).quantize(Decimal(1), decimal.ROUND_HALF_UP)) for date, median in rows}


def _cents(amount: Decimal) -> Decimal:
    return amount.quantize(_CENT, context=_EXACT)


@dataclass(frozen=True, slots=True)
class _Rates:
    """US dollars per unit of each currency: the dates from which a rate holds, ascending, and the rates."""

    path: Path
    by_currency: Mapping[str, tuple[list[dt.date], list[Decimal]]]

    @classmethod
    def read(cls, path: Path) -> _Rates:
        found: dict[str, tuple[list[dt.date], list[Decimal]]] = {"USD": ([dt.date.min], [Decimal(1)])}
        with path.open(encoding="utf-8", newline="") as file:
            for row in sorted(csv.DictReader(file), key=lambda row: row["valid_from"]):
                dates, rates = found.setdefault(row["currency"], ([], []))
                dates.append(dt.date.fromisoformat(row["valid_from"]))
                rates.append(Decimal(row["usd_per_unit"]))
        return cls(path, found)

    def usd_per_unit(self, currency: str, date: dt.date) -> Decimal:
        dates, rates = self.by_currency.get(currency, ([], []))
        position = bisect.bisect_right(dates, date)
        if position == 0:
            raise RetailError(f"{currency} has no exchange rate on {date}; add it to {self.path.name}")
        return rates[position - 1]
