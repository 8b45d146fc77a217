"""The minute-sales query: which minutes did new silver lines touch, and what are their sales now.

They are summed again from silver, whole: running it twice, or late, gives the same rows, and an event that comes years
late corrects its minute.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812

from retail_platform.contracts import SALES_BY_MINUTE
from retail_platform.ingest.lookup import around, hours_of
from retail_platform.ingest.query import QueryHandle
from retail_platform.ingest.transforms import sales_by_minute
from retail_platform.lakehouse.delta import LakeTable

_MINUTE = 60
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
        minute = F.floor(F.unix_seconds("event_time") / _MINUTE)
        seen = rows.agg(hours_of(F.lit(True)), F.min(minute).alias("first"), F.max(minute).alias("last"))
        (touched,) = seen.collect()
        if not touched["hours"]:
            return
        # By the files' statistics an hour is not read whole for its last minute, nor a day for a late event. Minutes between
        # that were not touched have the same sums as before.
        first, past = touched["first"] * _MINUTE, (touched["last"] + 1) * _MINUTE
        lines = self.silver.read().where(around(set(touched["hours"]), _NO_MARGIN))
        lines = lines.where(f"event_time >= timestamp_seconds({first}) and event_time < timestamp_seconds({past})")
        self._merge(sales_by_minute(lines), sorted({row["business_date"] for row in touched["hours"]}))

    def _merge(self, again: DataFrame, dates: Sequence[dt.date]) -> None:
        pruned = ", ".join(f"date'{date}'" for date in dates)
        same = " and ".join(f"t.{column} = s.{column}" for column in SALES_BY_MINUTE.key)
        measures = [name for name in SALES_BY_MINUTE.column_names if name not in SALES_BY_MINUTE.key]
        changed = " or ".join(f"t.{column} is distinct from s.{column}" for column in measures)
        with self.minutes.maintenance() as table:
            table.alias("t").merge(again.alias("s"), f"t.business_date in ({pruned}) and {same}").whenMatchedUpdateAll(
                changed
            ).whenNotMatchedInsertAll().execute()
