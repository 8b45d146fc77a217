"""The midnight of every customer, as records: so that the live segments follow time, and the cut-offs of the new table."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq

from retail_platform.contracts import CUSTOMER_REFRESHES
from retail_platform.errors import RetailError
from retail_platform.producer.message import Message, encode
from retail_platform.settings import Settings

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "customer-refreshes.retail-platform")


def midnight(settings: Settings) -> dt.datetime | None:
    """The beginning of the business date that the published cut-offs are for; ``None`` while there are none.

    Raises:
        RetailError: the mart is not published.
    """
    dates = _column(settings, "customer_rfm_cutoffs", "as_of").to_pylist()
    return dt.datetime.combine(dates[0], dt.time(), ZoneInfo(settings.business_timezone)) if dates else None


def messages(settings: Settings, moment: dt.datetime) -> Iterator[Message]:
    """A refresh as of ``moment`` for each customer of the published ``dim_customers``: who has not bought for a year, too.

    Raises:
        RetailError: the mart is not published.
    """
    time = moment.isoformat()
    for customer in _column(settings, "dim_customers", "customer_id").to_pylist():
        event_id = str(uuid.uuid5(_NAMESPACE, f"{time} {customer}"))
        value = encode({"event_id": event_id, "event_time": time, "customer_id": customer})
        yield Message(CUSTOMER_REFRESHES.topic, customer.encode(), value, CUSTOMER_REFRESHES.schema, "refresh")


def _column(settings: Settings, mart: str, column: str) -> pa.ChunkedArray:
    path = settings.marts_dir / f"{mart}.parquet"
    try:
        return pq.read_table(path, columns=[column])[column]
    except FileNotFoundError as error:
        raise RetailError(f"the mart {path} is not published; build a day first (`retail run`)") from error
