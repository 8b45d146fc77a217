"""The live metrics of days that are over, as a topic's reader has them, to compare with what the batch says of these days."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

from retail_platform.contracts import LIVE_METRICS
from retail_platform.reactions.reading import records
from retail_platform.settings import Settings

_CENT = Decimal("0.01")
_EXACT = Context(prec=80, rounding=ROUND_HALF_UP)


@dataclass(frozen=True, slots=True)
class Figures:
    """Of a business date in all: sales, and sales less returns in US dollars, to the cent; ``None`` without a rate."""

    orders: int
    revenue_usd: Decimal | None


@dataclass(frozen=True, slots=True)
class LiveDay:
    """A date as its day's cell has it, and as the cells of its minutes do together."""

    day: Figures
    minutes: Figures


def live_days(settings: Settings, since: dt.datetime) -> dict[dt.date, LiveDay]:
    """By business date, what the newest revisions of the cells of everything (dimension ``all``) come to.

    Only what was said since that moment is read: dates that began before it may be missing, or have too few minutes.

    Raises:
        RetailError: Kafka does not answer, or has no such topic.
    """
    return totals(asyncio.run(_newest(settings, since)).values())


async def _newest(settings: Settings, since: dt.datetime) -> dict[bytes, dict[str, Any]]:
    newest: dict[bytes, bytes] = {}
    async with contextlib.aclosing(records(settings, LIVE_METRICS.topic, since, to_end=True)) as found:
        async for record in found:
            # By the key alone, as nearly all are of other cells; those of one key are in one partition, and so in order.
            if record.key is not None and record.key.endswith(b":all:all") and not record.key.startswith(b"hour:"):
                newest[record.key] = record.value
    return {key: json.loads(value) for key, value in newest.items()}


def totals(cells: Iterable[Mapping[str, Any]]) -> dict[dt.date, LiveDay]:
    """The dates of events of ``live-metrics``, one a cell, of the dimension ``all``: their days and their minutes."""
    days: dict[dt.date, Figures] = {}
    minutes: dict[dt.date, tuple[int, Decimal | None]] = {}
    for cell in cells:
        date = dt.date.fromisoformat(cell["window_date"])
        exact = cell["revenue_usd_exact"]
        if cell["grain"] == "day":
            days[date] = Figures(cell["orders"], None if exact is None else _cents(Decimal(exact)))
            continue
        orders, revenue = minutes.get(date, (0, Decimal(0)))
        both = None if exact is None or revenue is None else _EXACT.add(revenue, Decimal(exact))
        minutes[date] = orders + cell["orders"], both
    summed = {
        date: Figures(orders, None if revenue is None else _cents(revenue))
        for date, (orders, revenue) in minutes.items()
    }
    return {date: LiveDay(day, summed.get(date, Figures(0, Decimal(0)))) for date, day in sorted(days.items())}


def differences(live: Mapping[dt.date, LiveDay], batch: Mapping[dt.date, Figures]) -> list[str]:
    """Where the two differ on dates that both have, a sentence a figure, by date; empty when nowhere."""
    return [
        f"{date}: {name} of {what} is {getattr(found, name)} live, and {getattr(batch[date], name)} in the KPI file"
        for date in sorted(live.keys() & batch.keys())
        for what, found in (("the day", live[date].day), ("its minutes together", live[date].minutes))
        for name in ("orders", "revenue_usd")
        if getattr(found, name) != getattr(batch[date], name)
    ]


def _cents(amount: Decimal) -> Decimal:
    return amount.quantize(_CENT, context=_EXACT)
