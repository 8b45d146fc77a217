"""The ledger at the edge: one line for each record that Kafka acknowledged, on the disk before the producer goes on.

It is all that the verifier believes. The pipeline never sees it.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, TextIO

from retail_platform.contracts import TRANSACTIONS
from retail_platform.producer.message import Message
from retail_platform.settings import Settings

_FSYNC_SECONDS = 0.1
_REFUSED = "malformed"
_EVENT = ("event_id", "business_date", "amounts", "kind", "currency")


def ledger_path(settings: Settings) -> Path:
    """The ledger of a chaos home."""
    return settings.retail_home / "acknowledged.jsonl"


class Ledger:
    """The open ledger; its :meth:`acknowledged` is the callback of :func:`retail_platform.producer.send.send`."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._synced = 0.0
        self.count = 0

    def acknowledged(self, message: Message, partition: int, offset: int) -> None:
        """Enter a record; ``offset`` is -1 where the broker acknowledged a retry of what it had already."""
        self._file.write(json.dumps(entry(message, partition, offset), separators=(",", ":")) + "\n")
        self.count += 1
        # A batch's answers come in one burst: one fsync for each would stop the producer, not prove more.
        if time.monotonic() - self._synced > _FSYNC_SECONDS:
            self.sync()

    def sync(self) -> None:
        """Force what was entered to the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._synced = time.monotonic()


@contextmanager
def open_ledger(settings: Settings) -> Iterator[Ledger]:
    """The ledger of a chaos home, to be added to; on the disk when the block ends."""
    path = ledger_path(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        ledger = Ledger(file)
        try:
            yield ledger
        finally:
            ledger.sync()


def entry(message: Message, partition: int, offset: int) -> dict[str, Any]:
    """What the ledger says of a record.

    ``topic``, ``partition``, ``offset``; ``sha256`` of the value, empty for a tombstone; and for an event that must be
    accepted ``event_id``, ``business_date`` (UTC), ``amounts``: net per line, or the movement's quantity, and of a
    transaction ``kind`` (sale or return) and ``currency``.
    """
    address = {"topic": message.topic, "partition": partition, "offset": offset, "label": message.label}
    digest = "" if message.value is None else hashlib.sha256(message.value).hexdigest()
    if message.value is None or message.label.startswith(_REFUSED):
        return address | {"sha256": digest, **dict.fromkeys(_EVENT)}
    event = json.loads(message.value, parse_float=Decimal)
    moment = dt.datetime.fromisoformat(event["event_time"]).astimezone(dt.UTC)
    return address | {
        "sha256": digest,
        "event_id": event["event_id"].lower(),
        "business_date": moment.date().isoformat(),
        "amounts": _amounts(message.topic, event),
        "kind": event.get("event_type"),
        "currency": event.get("currency"),
    }


def _amounts(topic: str, event: dict[str, Any]) -> list[str]:
    if topic != TRANSACTIONS.topic:
        return [f"{Decimal(event['quantity']):f}"]
    return [f"{_net(item):f}" for item in event["items"]]


def _net(item: dict[str, Any]) -> Decimal:
    return Decimal(item["quantity"]) * Decimal(item["unit_price"]) - Decimal(item["discount"])
