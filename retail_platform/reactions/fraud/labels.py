"""An analyst's verdict on a purchase, as an event (topic ``fraud-labels``)."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["confirmed", "dismissed"]


@dataclass(frozen=True, slots=True)
class Label:
    """One verdict.

    ``event_id``: UUID of the label. ``event_time``: when it was given, UTC. ``transaction_event_id``,
    ``transaction_time`` (UTC), ``store_id``, ``register_id``: of the purchase that it is about; they are told here, so
    that a reducer needs no look-up in a purchase a week old. ``verdict``: confirmed (fraud) or dismissed (no fraud).
    """

    event_id: str
    event_time: dt.datetime
    transaction_event_id: str
    transaction_time: dt.datetime
    store_id: str
    verdict: Verdict
    register_id: str | None = None
