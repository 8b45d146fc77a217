"""What the stream makes of what Kafka holds: everything in bronze, each valid event once in silver, the rest refused."""

from __future__ import annotations

import datetime as dt
import errno
import json
import os
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from retail_platform.contracts import (
    BRONZE_EVENTS,
    INGEST_BATCHES,
    INVENTORY,
    QUARANTINE_EVENTS,
    SALES_BY_MINUTE,
    TRANSACTIONS,
)
from retail_platform.contracts.model import Table
from retail_platform.errors import RetailError
from retail_platform.ingest.query import QueryHandle
from retail_platform.lakehouse import quality
from retail_platform.lakehouse.reading import ledger
from retail_platform.producer import online_retail
from retail_platform.settings import Settings
from retail_platform_tests.ingest.running import deliver, drain, message, money, rows, sale

if TYPE_CHECKING:
    from pyspark.sql import SparkSession
    from pyspark.sql.streaming import StreamingQuery

LINES = TRANSACTIONS.silver_table
MOVEMENTS = INVENTORY.silver_table


def test_a_sale_becomes_exact_lines_in_silver_and_its_bytes_stay_in_bronze(
    spark: SparkSession, lake_settings: Settings
) -> None:
    event = sale(event_time="2026-03-02T23:30:00.5+01:00", event_id=str(uuid.uuid4()).upper())
    sent = message(event, key="T-1")
    deliver(lake_settings, [sent])
    drain(spark, lake_settings, minutes=True)

    found = rows(
        lake_settings,
        LINES,
        "select event_id, line_number, product_id, quantity, unit_price, discount, gross_amount, net_amount, "
        "business_date, card_token, country, event_time from t order by line_number",
    )
    event_id, date = event["event_id"].lower(), dt.date(2026, 3, 2)
    moment = dt.datetime(2026, 3, 2, 22, 30, 0, 500_000, tzinfo=dt.UTC)
    header = (date, "tok-1", "United Kingdom", moment)
    first = (event_id, 1, "P1", 2, money("10.10"), money("0.20"), money("20.20"), money("20.00"))
    second = (event_id, 2, "P2", 1, money("5.0125"), money("0"), money("5.0125"), money("5.0125"))
    assert [(*row[:-1], row[-1].astimezone(dt.UTC)) for row in found] == [first + header, second + header]
    assert rows(lake_settings, BRONZE_EVENTS, "select topic, key, value from t") == [
        (TRANSACTIONS.topic, b"T-1", sent.value)
    ]
    minutes = rows(
        lake_settings, SALES_BY_MINUTE, "select channel, store_id, currency, orders, units, net_amount from t"
    )
    assert minutes == [("pos", "S001", "GBP", 1, 3, money("25.0125"))]


def test_minutes_are_the_sums_of_their_events_whatever_others_a_late_event_has_summed_again(
    spark: SparkSession, lake_settings: Settings
) -> None:
    def drained(*times: str) -> None:
        deliver(lake_settings, [message(sale(event_time=f"2026-03-02T{time}Z")) for time in times])
        drain(spark, lake_settings, minutes=True)

    def sums(table: Table, minute: str, orders: str) -> list[tuple[object, ...]]:
        return rows(lake_settings, table, f"select {minute}, {orders}, sum(net_amount) from t group by 1 order by 1")

    drained("10:00:00", "10:00:59.999", "10:01:00", "10:59:59.999", "11:00:00", "12:00:00", "12:01:00", "23:59:59.999")
    drained("10:00:30", "12:00:05")
    of_the_lines = sums(LINES, "date_trunc('minute', event_time)", "count(distinct event_id)")
    assert [orders for _, orders, _ in of_the_lines] == [3, 1, 1, 1, 2, 1, 1]
    assert sums(SALES_BY_MINUTE, "minute", "sum(orders)") == of_the_lines


def test_records_that_a_lost_executor_has_counted_twice_are_counted_again(
    spark: SparkSession, lake_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster's executor that is lost with what it had shuffled; see also ``test_cluster``, which kills one."""
    counted = QueryHandle.observed

    def twice(handle: QueryHandle, name: str) -> dict[str, Any]:
        return {"rows_in": counted(handle, name)["rows_in"] * 2}

    monkeypatch.setattr(Settings, "spark_is_local", False)
    monkeypatch.setattr(QueryHandle, "observed", twice)
    for _ in range(2):
        deliver(lake_settings, [message(twin := sale()), message(twin), message(None), message(sale())])
        drain(spark, lake_settings)
    batches = [batch for batch in ledger(lake_settings) if batch.query_name == LINES.path]
    assert [(batch.rows_in, batch.events, batch.refused, batch.duplicates) for batch in batches] == [(4, 2, 1, 1)] * 2


def test_numbers_and_numeric_strings_are_the_same_money(spark: SparkSession, lake_settings: Settings) -> None:
    def priced(price: object) -> dict[str, object]:
        return sale(items=[{"product_id": "P", "quantity": "3", "unit_price": price, "discount": "0"}])

    deliver(lake_settings, [message(priced(price)) for price in (19.99, "19.99", 1999e-2, "19.9900")])
    drain(spark, lake_settings)
    assert rows(lake_settings, LINES, "select distinct net_amount from t") == [(money("59.97"),)]


def test_a_twin_is_dropped_in_its_batch_in_a_later_batch_and_beyond_the_horizon(
    spark: SparkSession, lake_settings: Settings
) -> None:
    recent = sale()
    years_old = sale(event_time="2012-02-29T12:00:00Z")
    first = [message(recent), message(recent), message(years_old), message(years_old)]
    deliver(lake_settings, first)
    drain(spark, lake_settings)
    deliver(lake_settings, [message(recent), message(years_old), message(sale())])
    drain(spark, lake_settings)
    # A horizon that has passed: only the look-up in silver knows the old event now.
    forgetful = lake_settings.model_copy(update={"ingest_dedupe_horizon_minutes": 10})
    deliver(forgetful, [message(years_old)])
    drain(spark, forgetful)

    assert rows(lake_settings, LINES, "select count(distinct event_id), count(*) from t") == [(3, 6)]
    transactions, *_ = quality.balance(lake_settings)
    assert (transactions.bronze, transactions.silver, transactions.duplicates) == (8, 3, 5)
    assert transactions.difference == 0


def test_a_late_batch_without_anything_new_touches_no_date(spark: SparkSession, lake_settings: Settings) -> None:
    sample = online_retail.messages(online_retail.read(online_retail.sample_file()))[:40]
    deliver(lake_settings, sample)
    drain(spark, lake_settings)
    before = rows(lake_settings, LINES, "select count(*), sum(net_amount) from t")
    deliver(lake_settings, sample)
    drain(spark, lake_settings)
    assert rows(lake_settings, LINES, "select count(*), sum(net_amount) from t") == before
    last = rows(
        lake_settings,
        INGEST_BATCHES,
        f"select events, duplicates, len(business_dates) from t where query_name = '{LINES.path}' and batch_id = 1",
    )
    assert [row[0::2] for row in last] == [(0, 0)]


def test_the_ledger_accounts_for_every_record(spark: SparkSession, lake_settings: Settings) -> None:
    good = sale()
    deliver(lake_settings, [message(good), message(good), message(b"{"), message(None), message(sale())])
    drain(spark, lake_settings)
    found = rows(
        lake_settings,
        INGEST_BATCHES,
        "select query_name, rows_in, events, refused, duplicates, committed_at >= started_at from t "
        "where rows_in > 0 order by 1",
    )
    assert found == [(BRONZE_EVENTS.path, 5, 0, 0, 0, True), (LINES.path, 5, 2, 2, 1, True)]
    assert rows(lake_settings, QUARANTINE_EVENTS, "select value, reasons from t order by value nulls last") == [
        (b"{", ["malformed_json"]),
        (None, ["null_value"]),
    ]


def test_a_broken_twin_does_not_hide_a_good_event(spark: SparkSession, lake_settings: Settings) -> None:
    event = sale()
    deliver(lake_settings, [message(event | {"channel": "telex"}), message(event)])
    drain(spark, lake_settings)
    assert rows(lake_settings, LINES, "select count(*) from t") == [(2,)]
    assert rows(lake_settings, QUARANTINE_EVENTS, "select reasons from t") == [(["enum:channel"],)]


def test_unknown_fields_are_fine(spark: SparkSession, lake_settings: Settings) -> None:
    event = sale(loyalty={"points": 3}, note=["x"])
    event["items"][0]["colour"] = "red"
    deliver(lake_settings, [message(event)])
    drain(spark, lake_settings)
    assert rows(lake_settings, LINES, "select count(*) from t") == [(2,)]
    assert json.loads(rows(lake_settings, BRONZE_EVENTS, "select value from t")[0][0])["loyalty"] == {"points": 3}


def test_every_table_has_the_columns_of_its_contract(spark: SparkSession, lake_settings: Settings) -> None:
    drain(spark, lake_settings)
    for table in (BRONZE_EVENTS, QUARANTINE_EVENTS, INGEST_BATCHES, SALES_BY_MINUTE, LINES, MOVEMENTS):
        assert quality.contract_differences(lake_settings, table) == []


def test_a_lost_checkpoint_is_refused_before_anything_is_written_twice(
    spark: SparkSession, lake_settings: Settings
) -> None:
    deliver(lake_settings, [message(sale())])
    drain(spark, lake_settings)
    gone = lake_settings.checkpoints_dir / "bronze-events"
    gone.rename(gone.with_name("elsewhere"))
    with pytest.raises(RetailError, match=r"bronze/events holds data but its checkpoint .* is gone or another's"):
        drain(spark, lake_settings)


@pytest.mark.parametrize("keeps", ["all but its last batch", "its name alone"])
def test_a_checkpoint_older_than_its_table_is_refused_before_a_record_is_skipped(
    spark: SparkSession, lake_settings: Settings, keeps: str
) -> None:
    for _ in range(2):
        deliver(lake_settings, [message(sale())])
        drain(spark, lake_settings)
    where = lake_settings.checkpoints_dir / "silver-transaction_lines"
    for log in (where / "offsets", where / "commits"):
        newest = max(int(entry.name) for entry in log.iterdir() if entry.name.isdigit())
        for entry in log.iterdir():
            if keeps == "its name alone" or entry.name.strip(".").split(".")[0] == str(newest):
                entry.unlink()
    deliver(lake_settings, [message(sale())])
    with pytest.raises(
        RetailError, match=r"silver-transaction_lines is older than silver/transaction_lines: batch 1 is in"
    ):
        drain(spark, lake_settings)
    assert rows(lake_settings, LINES, "select count(distinct event_id) from t") == [(2,)]


def test_a_query_that_cannot_start_ends_the_stream_with_its_reason(
    spark: SparkSession, lake_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is what a full disk does: the checkpoint of the second query cannot be begun."""
    from pyspark.sql.streaming.readwriter import DataStreamWriter

    start = DataStreamWriter.start

    def full(writer: DataStreamWriter) -> StreamingQuery:
        if outcomes.pop() == "full":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return start(writer)

    outcomes = ["full", "start"]
    monkeypatch.setattr(DataStreamWriter, "start", full)
    with pytest.raises(OSError, match="No space left"):
        drain(spark, lake_settings)
    assert not spark.streams.active
