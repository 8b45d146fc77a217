"""What a test has happen in the shop: purchases, counts, and what is published for the reactions to read."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from retail_platform.contracts import INVENTORY
from retail_platform.producer import customer_refreshes
from retail_platform.producer.message import Message
from retail_platform.reactions.prices import rule as pricing
from retail_platform.reactions.segments.published import FILE, read, write
from retail_platform.reactions.segments.quintiles import Cutoffs
from retail_platform.settings import Settings
from retail_platform_tests.ingest.running import message, sale

#: Of the product ``P1``, in the settings of ``reactions_settings``.
TERMS = pricing.Terms(unit_cost=Decimal(6), list_price=Decimal("12.99"))
LONDON, NEW_YORK = (51.5, -0.1), (40.7, -74.0)


def bought(card: str, place: tuple[float, float], minute: int, *, days_ago: int = 0, **changes: Any) -> dict[str, Any]:
    """A purchase with a card in the shop, ``minute`` minutes into the hour before last, or so many days before."""
    now = dt.datetime.now(dt.UTC)
    hour = now.replace(minute=0, second=0, microsecond=0) - dt.timedelta(days=days_ago, hours=2)
    return sale(
        event_time=(hour + dt.timedelta(minutes=minute)).isoformat(),
        payment={"method": "card", "card_token": card},
        location={"country": "United Kingdom", "latitude": place[0], "longitude": place[1]},
        **changes,
    )


def publish_customers(settings: Settings, names: set[str]) -> tuple[dt.datetime, Cutoffs]:
    """Cut-offs such that ten sales make a customer loyal and thirty a champion; and the customers of the warehouse."""
    bounds = {"recency": (1, 2, 3, 4), "frequency": (2, 10, 30, 99), "monetary": (0, 0, 0, 0)}
    write(settings.marts_dir / FILE, dt.datetime.now(dt.UTC).date(), bounds)
    pq.write_table(pa.table({"customer_id": sorted(names)}), settings.marts_dir / "dim_customers.parquet")
    found = read(settings.marts_dir / FILE)
    midnight = customer_refreshes.midnight(settings)
    assert found is not None
    assert midnight is not None
    return midnight, found[1]


def count_of(store: str, event_time: str, quantity: int, product: str = "P1") -> Message:
    """A count of a product of the store, as the shop sends it."""
    counted = {
        "event_id": str(uuid.uuid4()),
        "event_time": event_time,
        "store_id": store,
        "product_id": product,
        "movement": "count",
        "quantity": quantity,
    }
    return message(counted, f"{store}:{product}", INVENTORY.topic)
