"""Stream against batch: the live metrics of days that are over, and the KPI file."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from retail_platform.contracts import LIVE_METRICS
from retail_platform.defs import reactions
from retail_platform.kafka import ensure_topics
from retail_platform.reactions.events import Line, Transaction
from retail_platform.reactions.metrics import cells
from retail_platform.reactions.metrics.closed_days import Figures, LiveDay, differences, totals
from retail_platform.settings import Settings
from retail_platform.warehouse.kpi_file import DailyKpi, upsert_daily
from retail_platform_tests.ingest.running import deliver, message

TODAY = dt.datetime.now(dt.UTC).date()
DAY, LIVE_ALONE, FILE_ALONE = (TODAY - dt.timedelta(days=days) for days in (3, 4, 5))
# Each in a minute of its own: rounded one by one, they would be a cent more.
REVENUE = Decimal("20.01")


def trade(date: dt.date) -> list[Transaction]:
    """Three sales and a return of half a cent over ten dollars each, a minute apart."""
    start = dt.datetime.combine(date, dt.time(12), dt.UTC)
    lines = (Line("P1", "tea", 1, Decimal("10.005"), Decimal(0)),)
    return [
        Transaction(
            event_id=f"{date}-{minute}",
            event_type=kind,
            transaction_id=f"T-{date}-{minute}",
            event_time=start + dt.timedelta(minutes=minute),
            channel="pos",
            store_id="S1",
            currency="USD",
            lines=lines,
        )
        for minute, kind in enumerate(("sale", "sale", "sale", "return"))
    ]


def said(events: Iterable[Transaction], rate: Decimal | None = Decimal(1)) -> list[dict[str, Any]]:
    """Every revision of every cell, in order."""
    states: dict[str, cells.State] = {}
    found: list[dict[str, Any]] = []
    for event in events:
        for minute in cells.contributions(event, rate, ZoneInfo("UTC")):
            for added in cells.rolled_up(minute, ZoneInfo("UTC")):
                key = added.cell.key
                states[key], metrics = cells.step(states.get(key, cells.State()), added)
                found += [metric.message() for metric in metrics]
    return found


def newest(events: Iterable[Transaction], rate: Decimal | None = Decimal(1)) -> list[dict[str, Any]]:
    """The cells of everything by day and minute, as a reader of the topic has them in the end."""
    mine = {
        row["metric_key"]: row for row in said(events, rate) if row["dimension"] == "all" and row["grain"] != "hour"
    }
    return list(mine.values())


def in_file(date: dt.date, orders: int = 3, revenue: Decimal = REVENUE) -> DailyKpi:
    return DailyKpi(date, orders, revenue, Decimal("6.67"), 900)


def check(settings: Settings) -> dg.AssetCheckEvaluation:
    """What Dagster's check says."""
    job = reactions.closed_days(settings).resolve_job_def(reactions.CLOSED_DAYS_JOB)
    with dg.DagsterInstance.ephemeral() as instance:
        (found,) = job.execute_in_process(instance=instance).get_asset_check_evaluations()
    return found


def test_a_closed_day_equals_the_kpi_file_to_the_cent_or_the_check_says_what_does_not(lake_settings: Settings) -> None:
    ensure_topics(lake_settings)
    cells_said = said([*trade(DAY), *trade(LIVE_ALONE), *trade(TODAY)])
    deliver(lake_settings, [message(row, row["metric_key"], LIVE_METRICS.topic) for row in cells_said])
    # What is not over is not compared, however wrong; nor what only one of the two has.
    upsert_daily(lake_settings.kpi_csv, [in_file(DAY), in_file(FILE_ALONE), in_file(TODAY, orders=9)])
    good = check(lake_settings)
    assert (good.passed, good.description) == (True, "1 of 2 days compared")
    assert good.metadata["not in the live metrics"].value == 1

    upsert_daily(lake_settings.kpi_csv, [in_file(DAY, revenue=REVENUE + Decimal("0.01"))])
    wrong = check(lake_settings)
    assert (wrong.passed, wrong.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert f"{DAY}: revenue_usd of the day is 20.01 live, and 20.02 in the KPI file" in (wrong.description or "")


def test_without_a_day_to_compare_kafka_is_not_asked(settings: Settings) -> None:
    upsert_daily(settings.kpi_csv, [in_file(dt.date(2010, 12, 1))])
    found = check(settings)
    assert (found.passed, found.description) == (True, "0 of 0 days compared")


def test_minutes_are_added_up_unrounded() -> None:
    figures = Figures(3, REVENUE)
    assert totals(newest(trade(DAY))) == {DAY: LiveDay(figures, figures)}


@pytest.mark.parametrize("lost", range(4))
def test_a_minute_that_is_not_there_is_found(lost: int) -> None:
    cells_left = [row for row in newest(trade(DAY)) if not row["metric_key"].startswith(f"minute:{DAY}T12:0{lost}")]
    found = differences(totals(cells_left), {DAY: Figures(3, REVENUE)})
    assert any(f"{DAY}: revenue_usd of its minutes together is" in line for line in found)
    assert not any("of the day" in line for line in found)


def test_a_day_that_has_an_event_without_a_rate_has_no_revenue_to_compare_but_that_itself() -> None:
    live = totals(json.loads(json.dumps(newest(trade(DAY), rate=None))))
    assert live == {DAY: LiveDay(Figures(3, None), Figures(3, None))}
    assert len(differences(live, {DAY: Figures(3, REVENUE)})) == 2
