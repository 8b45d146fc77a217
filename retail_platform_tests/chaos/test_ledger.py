"""The producer's ledger says exactly what Kafka acknowledged, and what of it must be accepted."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from decimal import Decimal

from retail_platform.chaos.ledger import entry, ledger_path, open_ledger
from retail_platform.chaos.load import messages
from retail_platform.contracts import TRANSACTIONS
from retail_platform.producer.message import Message, transaction
from retail_platform.producer.send import send
from retail_platform.settings import Settings
from retail_platform_tests.ingest.running import sale


def test_an_entry_has_the_address_the_digest_the_day_and_the_amounts() -> None:
    event = sale(event_time="2026-03-01T23:30:00-02:00")
    written = entry(transaction(event, "transaction", 0.0), 3, 17)
    assert (written["partition"], written["offset"], written["business_date"]) == (3, 17, "2026-03-02")
    assert written["event_id"] == event["event_id"]
    assert [Decimal(amount) for amount in written["amounts"]] == [Decimal("20.00"), Decimal("5.0125")]


def test_a_broken_record_has_no_event_and_a_tombstone_no_digest() -> None:
    broken = entry(Message(TRANSACTIONS.topic, b"k", b"junk", TRANSACTIONS.schema, "malformed:not_json"), 0, 1)
    assert (broken["event_id"], broken["sha256"]) == (None, hashlib.sha256(b"junk").hexdigest())
    assert (
        entry(Message(TRANSACTIONS.topic, b"k", None, TRANSACTIONS.schema, "malformed:tombstone"), 0, 2)["sha256"] == ""
    )


def test_the_ledger_holds_every_acknowledged_record_at_its_own_address(lake_settings: Settings) -> None:
    delivery = list(messages(5, 100.0, timedelta(seconds=3)))
    with open_ledger(lake_settings) as ledger:
        report = send(lake_settings, delivery, on_acknowledged=ledger.acknowledged)
    entries = [json.loads(line) for line in ledger_path(lake_settings).read_text().splitlines()]
    assert len(entries) == ledger.count == report.acknowledged == len(delivery)
    assert len({(e["topic"], e["partition"], e["offset"]) for e in entries}) == len(delivery)
    digests = sorted("" if m.value is None else hashlib.sha256(m.value).hexdigest() for m in delivery)
    assert sorted(e["sha256"] for e in entries) == digests


def test_the_load_has_its_share_of_twins_and_of_broken_records() -> None:
    labels = [message.label for message in messages(9, 1000.0, timedelta(seconds=5))]
    share = {kind: sum(label.startswith(kind) for label in labels) / len(labels) for kind in ("duplicate", "malformed")}
    assert 0.05 < share["duplicate"] < 0.15
    assert 0.002 < share["malformed"] < 0.03
    assert any(labels.count(kind) for kind in ("late", "out_of_order"))
