"""The pure transforms of the ingest: DataFrame in, DataFrame out, the same for a stream, a batch and a test.

A Kafka DataFrame here has the columns of the Kafka source; ``records`` gives it the lake's names. Nothing in this
module reads a clock or a random number: a batch that runs twice writes the same rows.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812

from retail_platform.contracts import SALES_BY_MINUTE
from retail_platform.contracts.model import Instant, Table, TopicContract
from retail_platform.ingest.validation import parsed, typed, unwrapped, verdict, with_clean

_ADDRESS = ("topic", "partition", "offset", "append_time")
_RAW = ("key", "value", "headers")
RECORD_COLUMNS = (*_ADDRESS, *_RAW)


@dataclass(frozen=True, slots=True)
class BusinessCalendar:
    """What decides an event's business date: the zone a day begins in, and the first day there is."""

    timezone: str
    start_date: dt.date

    def columns(self, rows: DataFrame) -> DataFrame:
        """``rows`` with ``business_timezone`` and ``start_date`` beside them, for the expressions that need them."""
        return rows.withColumns({"business_timezone": F.lit(self.timezone), "start_date": F.lit(self.start_date)})


def records(kafka: DataFrame) -> DataFrame:
    """Kafka's columns under the lake's names: topic, partition, offset, append_time, key, value, headers."""
    return kafka.select(
        "topic", "partition", "offset", F.col("timestamp").alias("append_time"), "key", "value", "headers"
    )


def bronze_rows(rows: DataFrame, query_id: str, batch_id: int) -> DataFrame:
    """One bronze row for each record, byte for byte."""
    return of_batch(rows, query_id, batch_id).select(*RECORD_COLUMNS, _ingest_date(), "query_id", "batch_id")


def screened(rows: DataFrame, contract: TopicContract, calendar: BusinessCalendar) -> DataFrame:
    """Each record with the fast path's answer, ``clean``; a record that is not clean is yet to be :func:`judged`.

    Columns: topic, partition, offset, append_time; key, value and headers only where not clean, so that what is shuffled
    and kept for a valid event is the event alone; e (the parsed event), event_time and business_date only where clean;
    ``dedupe_key``: the event_id, or the record's own address (a broken twin must never hide a good one); clean.
    """
    seen = with_clean(_parsed(rows, contract, calendar), contract)
    return seen.select(
        *_ADDRESS,
        *(F.expr(f"if(clean, null, {name})").alias(name) for name in _RAW),
        *_event(contract, calendar, F.col("clean")),
        "clean",
    )


def judged(rows: DataFrame, contract: TopicContract, calendar: BusinessCalendar) -> DataFrame:
    """What the slow path says of each record: ``reasons`` (null when it is valid after all), and the event if it is.

    Columns: those of :func:`screened`, with ``reasons`` for ``clean``; key, value and headers only where refused.
    """
    found = verdict(contract, calendar.timezone, calendar.start_date, F.col("value"), F.col("append_time"))
    seen = rows.withColumn("verdict", found).withColumn("e", F.col("verdict.e"))
    return seen.select(
        *_ADDRESS,
        *(F.expr(f"if(verdict.reasons is null, null, {name})").alias(name) for name in _RAW),
        *_event(contract, calendar, F.col("verdict.reasons").isNull()),
        "verdict.reasons",
    )


def validated(rows: DataFrame, contract: TopicContract, calendar: BusinessCalendar) -> DataFrame:
    """Each record of a batch as :func:`judged` gives it, most of them by the fast path."""
    seen = screened(rows, contract, calendar)
    return clean_events(seen).unionByName(judged(seen.where("not clean"), contract, calendar))


def clean_events(seen: DataFrame) -> DataFrame:
    """The clean records of :func:`screened`, with the columns of :func:`judged`."""
    return seen.where("clean").withColumn("reasons", F.lit(None).cast("array<string>")).drop("clean")


def quarantine_rows(checked: DataFrame, query_id: str, batch_id: int) -> DataFrame:
    """One quarantine row for each refused record of :func:`validated`: raw, with its reasons."""
    refused = of_batch(checked.where("reasons is not null"), query_id, batch_id)
    return refused.select(*RECORD_COLUMNS, "reasons", _ingest_date(), "query_id", "batch_id")


def batch_constant(value: Column) -> Column:
    """A value that is another in each batch, kept out of the generated code: to be selected alone, as it is exploded.

    Spark writes a number into the source of the classes it generates, so every batch would compile its own, and run it
    cold: half of the ingest's CPU time, when measured. The elements of a constant array are handed to it instead.
    """
    return F.explode(F.array(value))


def of_batch(events: DataFrame, query_id: str, batch_id: int) -> DataFrame:
    """``events`` with the ``query_id`` and ``batch_id`` of the micro-batch that writes them."""
    return events.withColumns({"query_id": F.lit(query_id), "batch_id": batch_constant(F.lit(batch_id).cast("bigint"))})


def silver_rows(checked: DataFrame, contract: TopicContract) -> DataFrame:
    """The silver rows of the valid events of :func:`validated`, in the silver table's column order.

    Needs, beside the columns of :func:`judged`, query_id and batch_id: see :func:`of_batch`.
    """
    good = checked.where("reasons is null")
    columns = {leaf.column: typed(leaf.type, f"e.{leaf.path}") for leaf in contract.header_leaves}
    if contract.lines is not None:
        good = good.selectExpr("*", f"posexplode(e.{contract.lines.name}) as (position, i)")
        columns["line_number"] = "position + 1"
        columns |= {leaf.column: typed(leaf.type, f"i.{leaf.field.name}") for leaf in contract.line_leaves}
    plain = good.selectExpr(*_named(columns), "business_date", *_ADDRESS, "query_id", "batch_id")
    return conform(plain, contract.silver_table, {derived.name: derived.expression for derived in contract.derived})


def conform(rows: DataFrame, table: Table, derived: Mapping[str, str] | None = None) -> DataFrame:
    """``rows`` with exactly the table's columns, in its order, in its types; the ``derived`` ones by their SQL."""
    found = {**{name: f"`{name}`" for name in table.column_names}, **(derived or {})}
    # As text, in one call: each column object is a call into the JVM, and a batch of every second plans this anew.
    return rows.selectExpr(
        *_named({column.name: f"cast({found[column.name]} as {column.type.spark})" for column in table.columns})
    )


def _named(columns: Mapping[str, str]) -> list[str]:
    return [f"{expression} as `{name}`" for name, expression in columns.items()]


def first_delivery(checked: DataFrame) -> DataFrame:
    """Each ``dedupe_key`` once, for a batch computation: the twin with the smallest append time, partition, offset."""
    smallest = F.min_by(
        F.struct(*(name for name in checked.columns if name != "dedupe_key")),
        F.struct("append_time", "partition", "offset"),
    )
    return checked.groupBy("dedupe_key").agg(smallest.alias("kept")).select("kept.*", "dedupe_key")


def sales_by_minute(lines: DataFrame) -> DataFrame:
    """Silver transaction lines summed by minute of event time, channel, store and currency; returns count negative."""
    signed = F.expr("if(event_type = 'sale', 1, -1)")
    one_per_event = F.col("line_number") == 1
    summed = lines.groupBy(
        F.window("event_time", "1 minute").alias("w"), "channel", "store_id", "currency", "business_date"
    ).agg(
        F.count_if(one_per_event & (F.col("event_type") == "sale")).alias("orders"),
        F.count_if(one_per_event & (F.col("event_type") == "return")).alias("returns"),
        F.sum(F.col("quantity") * signed).alias("units"),
        F.sum(F.col("net_amount") * signed).alias("net_amount"),
    )
    return conform(summed.withColumn("minute", F.col("w.start")), SALES_BY_MINUTE)


def _parsed(rows: DataFrame, contract: TopicContract, calendar: BusinessCalendar) -> DataFrame:
    seen = calendar.columns(rows).withColumn("parsed", F.explode(parsed(contract, F.col("value"))))
    return unwrapped(seen, contract)


def _event(contract: TopicContract, calendar: BusinessCalendar, valid: Column) -> list[Column]:
    """e, event_time, business_date where the event is ``valid``, and its dedupe_key."""
    moment = F.expr(typed(Instant(), f"e.{contract.event_time}"))
    event_id = F.expr(f"lower(e.{contract.event_id})")
    return [
        F.when(valid, F.col("e")).alias("e"),
        F.when(valid, moment).alias("event_time"),
        F.when(valid, F.to_date(F.from_utc_timestamp(moment, calendar.timezone))).alias("business_date"),
        F.when(valid, event_id).otherwise(F.concat_ws("/", "topic", "partition", "offset")).alias("dedupe_key"),
    ]


def _ingest_date() -> Column:
    return F.to_date("append_time").alias("ingest_date")
