"""Sales for the fraud tests: a card's purchases around one noon."""

import datetime as dt
from decimal import Decimal
from typing import Any

from retail_platform.reactions.events import Line, Transaction

NOON = dt.datetime(2026, 3, 2, 12, tzinfo=dt.UTC)
LONDON = (51.5074, -0.1278)
NEW_YORK = (40.7128, -74.0060)
READING = (51.4543, -0.9781)


def sale(number: int, seconds: float = 0, **values: Any) -> Transaction:
    """Purchase ``number`` of the card, so many seconds after noon; ``place`` is (latitude, longitude)."""
    latitude, longitude = values.pop("place", (None, None))
    line = Line("P1", values.pop("category", "Grocery"), 1, values.pop("amount", Decimal(20)), Decimal(0))
    return Transaction(
        **{
            "event_id": f"00000000-0000-4000-8000-{number:012d}",
            "event_type": "sale",
            "transaction_id": f"T{number}",
            "event_time": NOON + dt.timedelta(seconds=seconds),
            "channel": "pos",
            "store_id": "S1",
            "register_id": "1",
            "currency": "USD",
            "lines": (line,),
            "card_token": "card-1",
            "latitude": latitude,
            "longitude": longitude,
        }
        | values
    )
