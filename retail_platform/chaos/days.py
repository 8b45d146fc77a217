"""The days of the warehouse and of the KPI file against the producer's ledger: the same events, the same money.

Rates come from the seed that dbt uses; sums, rates and rounding are done here again, in exact decimals.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Context, Decimal
from pathlib import Path
from typing import Any

from retail_platform.chaos.finding import Finding
from retail_platform.contracts import TRANSACTIONS
from retail_platform.settings import PROJECT_ROOT, Settings

_RATES = PROJECT_ROOT / "dbt_project" / "seeds" / "fx_rates.csv"
_EXACT = Context(prec=80, rounding=ROUND_HALF_UP)


@dataclass
class Day:
    """One business date as Kafka acknowledged it: its events, its sales, net amounts, and US dollars of sales less returns."""

    events: set[str] = field(default_factory=set)
    orders: int = 0
    net: Decimal = field(default_factory=Decimal)
    revenue: Decimal = field(default_factory=Decimal)


def acknowledged_days(ledger: Path) -> dict[str, Day]:
    """The days (as ISO dates) of the valid transactions in the ledger, each event once."""
    rates = _rates()
    days: dict[str, Day] = {}
    with ledger.open(encoding="utf-8") as lines:
        for line in lines:
            entry = json.loads(line)
            if entry["topic"] == TRANSACTIONS.topic and entry["event_id"]:
                _add(days.setdefault(entry["business_date"], Day()), entry, rates)
    return days


def warehouse_findings(settings: Settings, days: dict[str, Day]) -> Iterator[Finding]:
    """Where raw.transaction_lines differs from ``days``; nothing when the warehouse was never loaded."""
    import duckdb

    if not settings.warehouse_path.exists():
        return
    with duckdb.connect(str(settings.warehouse_path), read_only=True) as connection:
        rows = connection.execute(
            "select cast(business_date as varchar), count(distinct event_id), sum(net_amount) "
            "from raw.transaction_lines group by 1"
        ).fetchall()
    loaded = {date: (events, net) for date, events, net in rows}
    expected = {date: (len(day.events), day.net) for date, day in days.items()}
    yield from differences("each day of the warehouse is that of what was acknowledged", loaded, expected)


def kpi_findings(settings: Settings, days: dict[str, Day]) -> Iterator[Finding]:
    """Where the KPI file differs from ``days`` in orders or revenue; nothing when there is no file."""
    if not settings.kpi_csv.exists():
        return
    with settings.kpi_csv.open(encoding="utf-8", newline="") as file:
        rows = {row["date"]: (int(row["orders"]), Decimal(row["revenue_usd"])) for row in csv.DictReader(file)}
    yield from differences("each day of the KPI file is that of what was acknowledged", rows, orders_and_cents(days))


def orders_and_cents(days: dict[str, Day]) -> dict[str, tuple[int, Decimal]]:
    """Of each day its sales, and its revenue in US dollars, rounded half up to the cent."""
    return {date: (day.orders, day.revenue.quantize(Decimal("0.01"), context=_EXACT)) for date, day in days.items()}


def differences(promise: str, found: dict[str, Any], expected: dict[str, Any]) -> Iterator[Finding]:
    """The days of which ``found`` is not what is ``expected``, as a finding; nothing where there is none."""
    wrong = sorted(date for date in found.keys() | expected.keys() if found.get(date) != expected.get(date))
    if wrong:
        example = f"{wrong[0]}: {found.get(wrong[0])} instead of {expected.get(wrong[0])}"
        yield Finding(promise, len(wrong), example)


def _add(day: Day, entry: dict[str, Any], rates: list[tuple[str, str, Decimal]]) -> None:
    if entry["event_id"] in day.events:
        return
    day.events.add(entry["event_id"])
    net = sum(map(Decimal, entry["amounts"]), Decimal())
    day.net += net
    day.orders += entry["kind"] == "sale"
    dollars = _EXACT.multiply(net, _rate(rates, entry["currency"], entry["business_date"]))
    day.revenue = _EXACT.add(day.revenue, dollars if entry["kind"] == "sale" else -dollars)


def _rate(rates: list[tuple[str, str, Decimal]], currency: str, date: str) -> Decimal:
    if currency == "USD":
        return Decimal(1)
    return max((since, rate) for name, since, rate in rates if name == currency and since <= date)[1]


def _rates() -> list[tuple[str, str, Decimal]]:
    with _RATES.open(encoding="utf-8", newline="") as file:
        return [(row["currency"], row["valid_from"], Decimal(row["usd_per_unit"])) for row in csv.DictReader(file)]
