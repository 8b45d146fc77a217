"""What was refused can be listed, looked at byte for byte, and sent in again, which makes each event come in once."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner, Result

from retail_platform.cli import quarantine as commands
from retail_platform.cli.app import app
from retail_platform.contracts import BRONZE_EVENTS, QUARANTINE_EVENTS, TRANSACTIONS
from retail_platform.errors import RetailError
from retail_platform.lakehouse import quality
from retail_platform.lakehouse.quarantine import Selection, refused
from retail_platform.producer.message import Message
from retail_platform.settings import Settings
from retail_platform_tests.ingest.running import deliver, drain, message, rows, sale

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

LINES = TRANSACTIONS.silver_table
TOPIC = TRANSACTIONS.topic
Retail = Callable[..., Result]


@pytest.fixture
def retail(lake_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Retail:
    """Run a command of ``retail quarantine`` on the test's lake."""
    monkeypatch.setattr(commands, "get_settings", lambda: lake_settings)
    return lambda *arguments, **more: CliRunner().invoke(app, ["quarantine", *map(str, arguments)], **more)


def said(result: Result) -> str:
    assert result.exit_code == 0, result.exception
    return " ".join(result.stdout.split())


def test_what_was_refused_is_listed_shown_and_once_its_cause_is_gone_sent_again_exactly_once(
    spark: SparkSession, lake_settings: Settings, retail: Retail, monkeypatch: pytest.MonkeyPatch
) -> None:
    early = lake_settings.model_copy(update={"partitions_start_date": dt.date(2009, 1, 1)})
    too_old, mended_by_its_sender, hopeless = (
        sale(event_time="2009-03-01T10:00:00Z"),
        sale(channel="telex", currency="XXX"),
        b'{"event_id": \xff',
    )
    odd = Message(TOPIC, None, json.dumps(too_old).encode(), "", "test", headers=(("till", b"\x00\x01"),))
    deliver(lake_settings, [odd, message(mended_by_its_sender), message(hopeless), message(None), message(sale())])
    drain(spark, lake_settings)
    deliver(lake_settings, [message(mended_by_its_sender | {"channel": "pos", "currency": "GBP"})])
    drain(spark, lake_settings)

    counted = {
        entry["reason"]: (entry["records"], entry["mended"]) for entry in json.loads(said(retail("list", "--json")))
    }
    assert counted == {
        "event_time_before_start": (1, 0),
        "enum:channel": (1, 1),
        "enum:currency": (1, 1),
        "invalid_utf8": (1, 0),
        "null_value": (1, 0),
    }
    (old,) = json.loads(said(retail("list", "--records", "--reason", "event_time_before_start", "--json")))
    shown = json.loads(said(retail("show", old["record"], "--json")))
    assert (shown["key"], shown["headers"]) == ("(none)", [["till", "\x00\x01"]])
    assert json.loads(shown["value"]) == too_old
    assert shown["meaning"] == {"event_time_before_start": "The event's business date is before PARTITIONS_START_DATE."}
    (broken,) = json.loads(said(retail("list", "--records", "--reason", "invalid_utf8", "--json")))
    assert retail("show", broken["record"], "--raw").stdout_bytes == hopeless

    nothing = said(retail("replay", "--topic", TOPIC, "--yes"))
    assert "4 records match, 1 of them are mended already 3 would be refused again and stay:" in nothing
    assert nothing.endswith("nothing to send")

    monkeypatch.setattr(commands, "get_settings", lambda: early)
    assert said(retail("replay", "--dry-run")).endswith("1 to send")
    assert retail("replay", input="n\n").exit_code == 1
    for _ in range(2):
        assert "1 are in Kafka again" in said(retail("replay", "--reason", "event_time_before_start", "--yes"))
    drain(spark, early)

    assert rows(early, LINES, f"select count(*) from t where event_id = '{too_old['event_id']}'") == [(2,)]
    sent_again = "select key, value, headers from t where len(headers) = 2"
    headers = [{"key": "till", "value": b"\x00\x01"}, {"key": "replay-of", "value": old["record"].encode()}]
    assert rows(early, BRONZE_EVENTS, sent_again) == [(None, odd.value, headers)] * 2
    assert [entry.difference for entry in quality.balance(early)] == [0, 0]
    assert {record.mended for record in refused(early, Selection(reason="event_time_before_start"))} == {True}
    assert rows(early, QUARANTINE_EVENTS, "select count(*) from t") == [(4,)]


def test_a_record_that_is_not_there_and_half_an_address_are_named(
    spark: SparkSession, lake_settings: Settings, retail: Retail
) -> None:
    drain(spark, lake_settings)
    assert said(retail("list")) == "nothing is in quarantine that matches"
    missing = retail("show", f"{TOPIC}/0/99")
    assert isinstance(missing.exception, RetailError)
    assert f"{TOPIC}/0/99 is not in quarantine" in str(missing.exception)
    assert "topic/partition/offset" in retail("show", "7").stderr
    assert "--offset needs --partition" in retail("replay", "--offset", 3).stderr
    assert said(retail("replay", "--reason", "null_value", "--yes")).endswith("nothing to send")
