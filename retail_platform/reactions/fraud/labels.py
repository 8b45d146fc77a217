"""An analyst's verdict on a purchase, as an event (topic ``fraud-labels``)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from retail_platform.reactions.events import moment
from retail_platform.reactions.outputs import output_id, rfc3339

TOPIC = "fraud-labels"

Verdict = Literal["confirmed", "dismissed"]


@dataclass(frozen=True, slots=True)
class Label:
    """One verdict.

    ``event_id``: UUID of the label. ``event_time``: when it was given, UTC. ``transaction_event_id``,
    ``transaction_time`` (UTC), ``store_id``, ``register_id``: of the purchase that it is about; they are told here, so
    that a reducer needs no look-up in a purchase a week old. ``verdict``: confirmed (fraud) or dismissed (no fraud).
    ``analyst``: an opaque id of whoever gave it, or none.
    """

    event_id: str
    event_time: dt.datetime
    transaction_event_id: str
    transaction_time: dt.datetime
    store_id: str
    verdict: Verdict
    register_id: str | None = None
    analyst: str | None = None

    def message(self) -> dict[str, Any]:
        """The event: the fields by their names, times as RFC 3339 in UTC with microseconds."""
        return {
            "event_id": self.event_id,
            "event_time": rfc3339(self.event_time),
            "transaction_event_id": self.transaction_event_id,
            "transaction_time": rfc3339(self.transaction_time),
            "store_id": self.store_id,
            "register_id": self.register_id,
            "verdict": self.verdict,
            "analyst": self.analyst,
        }


def label_id(transaction_event_id: str, verdict: str, given: dt.datetime) -> str:
    """UUID v5 of the purchase, the verdict and its moment: sent again it is the same, a changed mind is another."""
    return output_id(TOPIC, transaction_event_id, verdict, rfc3339(given))


def from_message(event: Mapping[str, Any]) -> Label:
    """A valid event of ``fraud-labels``, as :class:`Judgement.event` holds it."""
    return Label(
        event_id=event["event_id"].lower(),
        event_time=moment(event["event_time"]),
        transaction_event_id=event["transaction_event_id"].lower(),
        transaction_time=moment(event["transaction_time"]),
        store_id=event["store_id"],
        verdict=event["verdict"],
        register_id=event["register_id"],
        analyst=event["analyst"],
    )
