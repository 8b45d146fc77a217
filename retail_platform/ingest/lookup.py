"""Where in silver a late event's twin would be: in the files that may hold events of its hour, and of a margin around it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Set as AbstractSet

from pyspark.sql import Column, Row
from pyspark.sql import functions as F  # noqa: N812

_HOUR = 3600
# To compare every file with very many spans costs more than it saves.
_MOST_SPANS = 50


def hours_of(which: Column) -> Column:
    """An aggregate, ``hours``: ``business_date`` and ``hour`` (hours since 1970) of the events of ``which``."""
    hour = F.floor(F.unix_seconds("event_time") / _HOUR)
    return F.collect_set(F.when(which, F.struct("business_date", hour.alias("hour")))).alias("hours")


def around(hours: AbstractSet[Row], margin: dt.timedelta) -> str:
    """The condition, in SQL, on silver's rows of the ``hours`` (see :func:`hours_of`), and of a ``margin`` before and after.

    By Delta's statistics only files that may have such rows are read. Whole hours, so that the condition is the same for
    many batches, and compiled once. Very many spans become one, from the first to the last.
    """
    spans: list[tuple[int, int]] = []
    for hour in sorted({row["hour"] for row in hours}):
        first = spans.pop()[0] if spans and spans[-1][1] == hour else hour
        spans.append((first, hour + 1))
    if len(spans) > _MOST_SPANS:
        spans = [(spans[0][0], spans[-1][1])]
    seconds = int(margin.total_seconds())
    within = " or ".join(
        f"event_time >= timestamp_seconds({first * _HOUR - seconds}) and "
        f"event_time < timestamp_seconds({past * _HOUR + seconds})"
        for first, past in spans
    )
    dates = ", ".join(f"date'{date}'" for date in sorted({row["business_date"] for row in hours}))
    return f"business_date in ({dates}) and ({within})"
