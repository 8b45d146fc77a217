"""The minute-sales query: which minutes did new silver lines touch, and what are their sales now.

A touched minute is summed again from silver, whole: running it twice, or late, gives the same rows, and an event that
comes years late corrects its minute.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812

from retail_platform.contracts import SALES_BY_MINUTE
from retail_platform.ingest.lookup import around, hours_of
from retail_platform.ingest.query import QueryHandle
from retail_platform.ingest.silver import kept
from retail_platform.ingest.transforms import sales_by_minute
from retail_platform.lakehouse.delta import LakeTable

_NO_MARGIN = dt.timedelta(0)


@dataclass(frozen=True, slots=True)
class MinuteSalesBatches:
    """The ``foreachBatch`` function of the minute-sales query, whose source is the silver transaction lines."""

    handle: QueryHandle
    silver: LakeTable
    minutes: LakeTable

    def __call__(self, rows: DataFrame, batch_id: int) -> None:
        """Sum again the minutes that ``rows`` touch, and merge them."""
        with self.minutes.between_batches:
            self.handle.begin(batch_id)
            self._sum_again(rows)

    def _sum_again(self, rows: DataFrame) -> None:
        with kept(rows.select(_minute().alias("minute"), "business_date").distinct()) as touched:
            seen = (
                touched.withColumn("event_time", F.col("minute"))
                .agg(
                    hours_of(F.lit(True)),
                    F.min(F.unix_micros("minute")).alias("first"),
                    F.max(F.unix_micros("minute")).alias("last"),
                )
                .collect()[0]
            )
            if not seen["hours"]:
                return
            # Both are for the files' statistics: an hour is not read whole for its last minute, nor a day for a late event.
            # As numbers: Python's local times are ambiguous in the hour in which summer time ends.
            first, last = (F.timestamp_micros(F.lit(seen[end])) for end in ("first", "last"))
            in_reach = F.col("event_time").between(first, last + F.expr("interval 1 minute"))
            lines = self.silver.read().where(around(set(seen["hours"]), _NO_MARGIN)).where(in_reach)
            again = sales_by_minute(
                lines.withColumn("minute", _minute())
                .join(F.broadcast(touched.select("minute").distinct()), "minute", "left_semi")
                .drop("minute")
            )
            with kept(again) as sums:  # MERGE reads its source twice
                self._merge(sums, sorted({row["business_date"] for row in seen["hours"]}))

    def _merge(self, again: DataFrame, dates: Sequence[dt.date]) -> None:
        pruned = ", ".join(f"date'{date}'" for date in dates)
        same = " and ".join(f"t.{column} = s.{column}" for column in SALES_BY_MINUTE.key)
        measures = [name for name in SALES_BY_MINUTE.column_names if name not in SALES_BY_MINUTE.key]
        changed = " or ".join(f"t.{column} is distinct from s.{column}" for column in measures)
        with self.minutes.maintenance() as table:
            table.alias("t").merge(again.alias("s"), f"t.business_date in ({pruned}) and {same}").whenMatchedUpdateAll(
                changed
            ).whenNotMatchedInsertAll().execute()


def _minute() -> Column:
    return F.date_trunc("minute", "event_time")
