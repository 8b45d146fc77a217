"""A day of the warehouse or of the KPI file that is not what Kafka acknowledged is found."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal

from retail_platform.chaos.days import acknowledged_days, kpi_findings, warehouse_findings
from retail_platform.chaos.ledger import ledger_path
from retail_platform.contracts import TRANSACTIONS
from retail_platform.lakehouse.manifest import manifest
from retail_platform.settings import Settings
from retail_platform.warehouse import open_warehouse
from retail_platform.warehouse.kpi_file import DailyKpi, upsert_daily
from retail_platform_tests.warehouse.silver import LINES, line, write_lake

FIRST, SECOND = dt.date(2010, 12, 1), dt.date(2010, 12, 2)


def _acknowledge(settings: Settings, *entries: tuple[str, dt.date, str, list[str], str]) -> None:
    path = ledger_path(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        for event_id, date, kind, amounts, currency in entries:
            entry = {"topic": TRANSACTIONS.topic, "event_id": event_id, "business_date": date.isoformat()}
            file.write(json.dumps(entry | {"kind": kind, "amounts": amounts, "currency": currency}) + "\n")


def test_a_warehouse_that_lost_an_event_is_found_by_day(settings: Settings) -> None:
    write_lake(settings, [line("a", FIRST), line("b", SECOND)])
    open_warehouse(settings).load(manifest(settings, LINES, None), "run-1")
    _acknowledge(settings, ("a", FIRST, "sale", ["10"], "GBP"), ("b", SECOND, "sale", ["10"], "GBP"))
    assert list(warehouse_findings(settings, acknowledged_days(ledger_path(settings)))) == []
    _acknowledge(settings, ("c", SECOND, "sale", ["0.01"], "GBP"))
    (finding,) = warehouse_findings(settings, acknowledged_days(ledger_path(settings)))
    assert finding.example.startswith("2010-12-02: (1, Decimal('10.0000')) instead of (2, Decimal('10.01'))")


def test_the_kpi_file_must_have_the_orders_and_the_dollars_of_the_ledger(settings: Settings) -> None:
    _acknowledge(
        settings,
        ("a", FIRST, "sale", ["10", "5.5"], "USD"),
        ("a", FIRST, "sale", ["10", "5.5"], "USD"),
        ("b", FIRST, "return", ["0.25"], "USD"),
        ("c", FIRST, "sale", ["100"], "CAD"),
    )
    # 15.50 − 0.25 + 100 × 0.991965, once each
    upsert_daily(settings.kpi_csv, [DailyKpi(FIRST, 2, Decimal("114.45"), Decimal("57.22"), None)])
    assert list(kpi_findings(settings, acknowledged_days(ledger_path(settings)))) == []
    upsert_daily(settings.kpi_csv, [DailyKpi(FIRST, 2, Decimal("114.44"), Decimal("57.22"), None)])
    (finding,) = kpi_findings(settings, acknowledged_days(ledger_path(settings)))
    assert "114.44" in finding.example


def test_what_was_never_made_is_not_looked_at(settings: Settings) -> None:
    _acknowledge(settings, ("a", FIRST, "sale", ["10"], "GBP"))
    days = acknowledged_days(ledger_path(settings))
    assert [*warehouse_findings(settings, days), *kpi_findings(settings, days)] == []
