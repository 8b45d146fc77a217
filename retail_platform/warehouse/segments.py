"""Stream against batch: the segments that were told live, as of a midnight, and those of the mart for that date."""

from __future__ import annotations

import datetime as dt
import zoneinfo
from collections.abc import Sequence
from dataclasses import dataclass

from retail_platform.settings import Settings
from retail_platform.warehouse.protocol import Warehouse

# The mart of a date is known from its snapshot, and that the customers were refreshed from what it changed. Left out is who
# one of the two sides knew more of: a purchase on the date itself, one of a later date that the refresh came after, or one
# of before that was not in silver yet when the mart's days were loaded.
_COMPARED = """
    with refreshed as (
        select max(append_time) as at
        from raw.customer_segments
        where event_time = timestamp '{midnight}' and cutoffs_version like '{date}.%'
    ),
    loaded as (
        select max(loads.loaded_at) as at
        from raw.loads as loads
        join refreshed on loads.loaded_at < refreshed.at
        where loads.table_name = 'silver/transaction_lines' and loads.business_date < date '{date}'
    ),
    known_more_of as (
        select distinct lines.customer_id
        from raw.transaction_lines as lines
        left join raw.ingest_batches as batches
            on lines.query_id = batches.query_id and lines.batch_id = batches.batch_id
        cross join refreshed
        cross join loaded
        where lines.business_date = date '{date}'
            or (lines.business_date > date '{date}' and lines.append_time < refreshed.at)
            or (lines.business_date < date '{date}' and coalesce(batches.committed_at > loaded.at, true))
    ),
    live as (
        select customer_id, segment
        from raw.customer_segments
        where event_time <= timestamp '{midnight}'
        qualify row_number() over (partition by customer_id order by revision desc) = 1
    )
    select live.customer_id, live.segment as live, mart.segment as mart
    from live
    join marts.customer_rfm_snapshot as mart
        on live.customer_id = mart.customer_id
        and mart.dbt_valid_from <= date '{date}'
        and coalesce(mart.dbt_valid_to > date '{date}', true)
    left join known_more_of on live.customer_id = known_more_of.customer_id
    join refreshed on refreshed.at is not null
    where known_more_of.customer_id is null
"""


@dataclass(frozen=True, slots=True)
class Midnight:
    """A date's comparison: customers whose segments were compared, and of those that differ a sentence each."""

    date: dt.date
    customers: int
    differences: tuple[str, ...]


def compare_segments(warehouse: Warehouse, settings: Settings, dates: Sequence[dt.date]) -> list[Midnight]:
    """Of each date's midnight in BUSINESS_TIMEZONE, the last live segment of each customer against that of the mart.

    Nobody is compared for a date whose midnight was not sent to the customers.

    Raises:
        RetailError: the snapshot was not built yet.
    """
    return [_compared(warehouse, date, zoneinfo.ZoneInfo(settings.business_timezone)) for date in dates]


def _compared(warehouse: Warehouse, date: dt.date, timezone: zoneinfo.ZoneInfo) -> Midnight:
    midnight = dt.datetime.combine(date, dt.time(), timezone).astimezone(dt.UTC)
    rows = warehouse.query(_COMPARED.format(date=date, midnight=f"{midnight:%Y-%m-%d %H:%M:%S}")).to_pylist()
    wrong = sorted((row["customer_id"], row["live"], row["mart"]) for row in rows if row["live"] != row["mart"])
    told = (f"{customer} is {live} live and {mart} in customer_rfm" for customer, live, mart in wrong)
    return Midnight(date, len(rows), tuple(told))
