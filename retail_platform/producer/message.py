"""What a producer sends: one Kafka record, before it knows of any broker."""

import json
from dataclasses import dataclass

from retail_platform.contracts import INVENTORY, TRANSACTIONS

Event = dict[str, object]

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
