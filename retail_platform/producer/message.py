"""What a producer sends: one Kafka record, before it knows of any broker."""

import datetime as dt
import json
import uuid
from dataclasses import dataclass

from retail_platform.contracts import INVENTORY, PRICE_REVIEWS, PRICE_ROLLBACKS, REORDER_RELEASES, TRANSACTIONS

Event = dict[str, object]

_REVIEWS = uuid.uuid5(uuid.NAMESPACE_DNS, "price-reviews.retail-platform")
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode


@dataclass(frozen=True, slots=True)
class Message:
    """One record to send.

    ``topic`` is the contract's name for it, ``value`` ``None`` a tombstone, ``label`` what it is to whoever counts.
    ``due`` is its place on the stream's own clock, in seconds from the stream's beginning. ``pattern`` names the
    simulated fraud it is part of. ``headers`` are sent as they are, instead of the one that names the ``schema``.
    """

    topic: str
    key: bytes | None
    value: bytes | None
    schema: str
    label: str
    due: float = 0.0
    pattern: str | None = None
    headers: tuple[tuple[str, bytes | None], ...] = ()


def encode(event: Event) -> bytes:
    """The event as compact JSON in UTF-8."""
    return _encode(event).encode()


def transaction(event: Event, label: str, due: float, pattern: str | None = None) -> Message:
    """The record of a transaction, keyed by ``transaction_id``."""
    key = f"{event['transaction_id']}".encode()
    return Message(TRANSACTIONS.topic, key, encode(event), TRANSACTIONS.schema, label, due, pattern)


def movement(event: Event, label: str, due: float) -> Message:
    """The record of a stock movement, keyed by ``store_id:product_id``."""
    key = f"{event['store_id']}:{event['product_id']}".encode()
    return Message(INVENTORY.topic, key, encode(event), INVENTORY.schema, label, due)


def price_rollback(product_id: str) -> Message:
    """The record by which somebody wants the last change of a product's price taken back, now."""
    event = {**_asked_now(), "product_id": product_id}
    return Message(PRICE_ROLLBACKS.topic, product_id.encode(), encode(event), PRICE_ROLLBACKS.schema, "rollback")


def price_review(product_id: str, moment: dt.datetime) -> Message:
    """The record that has a product's price decided, by all that happened before ``moment``."""
    time = moment.isoformat()
    event_id = str(uuid.uuid5(_REVIEWS, f"{time} {product_id}"))
    value = encode({"event_id": event_id, "event_time": time, "product_id": product_id})
    return Message(PRICE_REVIEWS.topic, product_id.encode(), value, PRICE_REVIEWS.schema, "review")


def reorder_release(store_id: str, product_id: str, cycle: int) -> Message:
    """The record by which somebody lets a held reorder request through, now."""
    event = {**_asked_now(), "store_id": store_id, "product_id": product_id, "cycle": cycle}
    key = f"{store_id}:{product_id}".encode()
    return Message(REORDER_RELEASES.topic, key, encode(event), REORDER_RELEASES.schema, "release")


def _asked_now() -> Event:
    return {"event_id": str(uuid.uuid4()), "event_time": dt.datetime.now(dt.UTC).isoformat()}
