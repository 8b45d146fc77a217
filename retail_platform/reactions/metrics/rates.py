"""Exchange rates by business date: a rate holds from its valid_from until the next one of its currency; USD is 1."""

from __future__ import annotations

import bisect
import csv
import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from zoneinfo import ZoneInfo

from retail_platform.reactions.events import Transaction


@dataclass(frozen=True, slots=True)
class Rates:
    """By currency: the dates from which a rate holds, sorted, and the rates, in US dollars for one unit."""

    dates: dict[str, tuple[dt.date, ...]]
    usd_per_unit: dict[str, tuple[Decimal, ...]]

    def on(self, currency: str, business_date: dt.date) -> Decimal | None:
        """US dollars for one unit on a date; ``None`` when no rate holds."""
        if currency == "USD":
            return Decimal(1)
        position = bisect.bisect_right(self.dates.get(currency, ()), business_date)
        return self.usd_per_unit[currency][position - 1] if position else None


class Money:
    """What a transaction is worth in US dollars: the rate of its currency on its business date."""

    def __init__(self, rates: Rates, timezone: ZoneInfo) -> None:
        """``timezone`` is BUSINESS_TIMEZONE."""
        self.timezone = timezone
        self._rates = rates

    def rate(self, event: Transaction) -> Decimal | None:
        """US dollars for one unit of the transaction's currency; ``None`` when there is no rate."""
        return self._rates.on(event.currency, event.event_time.astimezone(self.timezone).date())

    def usd(self, event: Transaction) -> Decimal | None:
        """The transaction's amount in US dollars, exact; ``None`` when there is no rate."""
        rate = self.rate(event)
        return None if rate is None else event.amount * rate


def read_rates(lines: Iterable[str]) -> Rates:
    """The rates of a CSV file ``currency,valid_from,usd_per_unit`` (the dbt seed ``fx_rates``), its header included."""
    rows = sorted(
        (row["currency"], dt.date.fromisoformat(row["valid_from"]), Decimal(row["usd_per_unit"]))
        for row in csv.DictReader(lines)
    )
    currencies = {currency for currency, _, _ in rows}
    return Rates(
        {wanted: tuple(date for currency, date, _ in rows if currency == wanted) for wanted in currencies},
        {wanted: tuple(rate for currency, _, rate in rows if currency == wanted) for wanted in currencies},
    )
