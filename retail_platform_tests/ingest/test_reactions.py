"""What the reactions say lands like any event: raw in bronze, once in silver, with reasons in the quarantine."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from retail_platform.contracts import (
    BRONZE_EVENTS,
    FRAUD_ALERTS,
    FRAUD_LABELS,
    QUARANTINE_EVENTS,
    STOCK_LEVELS,
    TRANSACTIONS,
)
from retail_platform.errors import RetailError
from retail_platform.lakehouse import quality
from retail_platform.lakehouse.losses import repairs
from retail_platform.lakehouse.reading import ledger
from retail_platform.reactions.fraud.alerts import Alert, Hit
from retail_platform.reactions.fraud.labels import Label, label_id
from retail_platform.reactions.stock import levels
from retail_platform.settings import Settings
from retail_platform_tests.ingest.running import deliver, drain, empty_topics, message, rows, sale
from retail_platform_tests.ingest.test_recover import recover

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# Of no other test: nobody empties a compacted topic, and the application that sets prices reads it.
PRODUCT = "P-of-the-lake"
NOON = dt.datetime(2026, 3, 2, 12, tzinfo=dt.UTC)


def with_reactions(settings: Settings) -> Settings:
    return settings.model_copy(update={"ingest_reactions": True})


def alert_of_noon() -> dict[str, Any]:
    hit = Hit("velocity_1h", "1", Decimal("0.5"), False, {"purchases": 9})
    purchase = "0198b9a4-0000-7000-8000-000000000001"
    return Alert(NOON, purchase, "T-1", "tok-1", "S1", hit, "p1", Decimal("0.5"), "medium").message()


def label_of_the_next_day(alert: dict[str, Any]) -> dict[str, Any]:
    given, purchase = NOON + dt.timedelta(days=1), alert["transaction_event_id"]
    return Label(
        label_id(purchase, "dismissed", given), given, purchase, NOON, "S1", "dismissed", analyst="a-7"
    ).message()


def test_alerts_labels_and_levels_are_in_silver_once_and_a_drain_passes_over_the_topics_that_never_had_any(
    spark: SparkSession, lake_settings: Settings
) -> None:
    settings = with_reactions(lake_settings)
    alert = alert_of_noon()
    _, (level,) = levels.step(levels.State(), levels.StockEvent("e", NOON, "S1", PRODUCT, "count", 7))
    verdict = label_of_the_next_day(alert)
    told = [
        message(alert, "tok-1", FRAUD_ALERTS.topic),
        message(level.message(), f"S1:{PRODUCT}", STOCK_LEVELS.topic),
        *[message(verdict, verdict["transaction_event_id"], FRAUD_LABELS.topic)] * 2,
    ]
    broken = message(alert | {"severity": "terrible"}, "tok-1", FRAUD_ALERTS.topic)
    deliver(settings, [*told, told[0], broken])
    drain(spark, settings)
    assert rows(settings, FRAUD_ALERTS.silver_table, "select event_id, score, severity from t") == [
        (alert["event_id"], Decimal("0.5000"), "medium")
    ]
    judged = "select transaction_event_id, transaction_time, verdict, analyst, business_date from t"
    assert rows(settings, FRAUD_LABELS.silver_table, judged) == [
        (alert["transaction_event_id"], NOON, "dismissed", "a-7", dt.date(2026, 3, 3))
    ]
    found = rows(settings, STOCK_LEVELS.silver_table, "select stock_key, on_hand, reason, counted_quantity from t")
    assert found == [(f"S1:{PRODUCT}", 7, "count", 7)]
    assert rows(settings, QUARANTINE_EVENTS, "select topic, reasons from t") == [
        (FRAUD_ALERTS.topic, ["enum:severity"])
    ]
    balance = {entry.topic: entry for entry in quality.balance(settings)}
    assert {entry.difference for entry in balance.values()} == {0}
    alerts = balance[FRAUD_ALERTS.topic]
    assert (alerts.bronze, alerts.silver, alerts.quarantine, alerts.duplicates) == (3, 1, 1, 1)
    queries = {batch.query_name for batch in ledger(settings)}
    assert {FRAUD_ALERTS.silver_table.path, STOCK_LEVELS.silver_table.path} < queries
    assert json.loads(rows(settings, FRAUD_ALERTS.silver_table, "select evidence from t")[0][0]) == {"purchases": 9}


def test_a_lake_gains_and_loses_topics_by_a_recovery_and_nothing_is_lost_or_there_twice(
    spark: SparkSession, lake_settings: Settings
) -> None:
    settings = with_reactions(lake_settings)
    deliver(settings, [message(sale())])
    drain(spark, lake_settings)
    # Of the first alert Kafka has no record any more: the topic does not begin at 0.
    deliver(settings, [message(alert_of_noon(), "tok-1", FRAUD_ALERTS.topic)])
    empty_topics(settings)
    deliver(settings, [message(alert_of_noon(), "tok-1", FRAUD_ALERTS.topic), message(sale())])
    with pytest.raises(RetailError, match=r"was begun without .*fraud-alerts.*`retail stream recover`"):
        drain(spark, settings)
    assert recover(spark, settings)["queries"] == [BRONZE_EVENTS.path]
    drain(spark, settings)
    balance = {entry.topic: entry for entry in quality.balance(settings)}
    assert {entry.difference for entry in balance.values()} == {0}
    assert (balance[FRAUD_ALERTS.topic].silver, balance[TRANSACTIONS.topic].silver) == (1, 2)
    (gone,) = repairs(lake_settings)
    assert "was begun with " in gone.what
    assert gone.command == "retail stream recover"
