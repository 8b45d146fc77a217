"""The daily partitions: one start date, one business timezone. Pure; the Dagster definition of them is in ``defs/``."""

from __future__ import annotations

import datetime as dt
import zoneinfo
from collections.abc import Iterable

from retail_platform.settings import Settings


def business_date(moment: dt.datetime, settings: Settings) -> dt.date:
    """The business date of an instant: its date in ``BUSINESS_TIMEZONE``."""
    return moment.astimezone(zoneinfo.ZoneInfo(settings.business_timezone)).date()


def date_range(first: dt.date, last: dt.date) -> list[dt.date]:
    """Every date from ``first`` to ``last``, both included; empty when ``last`` is before ``first``."""
    return [first + dt.timedelta(days=day) for day in range((last - first).days + 1)]


def ranges(dates: Iterable[dt.date], most_between: int = 0) -> list[tuple[dt.date, dt.date]]:
    """The dates as (first, last) of each run of days, in order; up to ``most_between`` other days may lie in between."""
    found: list[tuple[dt.date, dt.date]] = []
    for date in sorted(set(dates)):
        if found and date - found[-1][1] <= dt.timedelta(days=most_between + 1):
            found[-1] = (found[-1][0], date)
        else:
            found.append((date, date))
    return found
