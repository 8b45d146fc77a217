"""Tables that no single topic owns: bronze, quarantine, minute sales, and the ingest's own ledger."""

from retail_platform.contracts.model import (
    BINARY,
    DATE,
    DATES,
    HEADERS,
    INTEGER,
    LONG,
    STRING,
    STRINGS,
    TIMESTAMP,
    Column,
    Table,
    decimal,
)

_RECORD: tuple[Column, ...] = (
    Column("topic", STRING, "Kafka topic."),
    Column("partition", INTEGER, "Kafka partition."),
    Column("offset", LONG, "Kafka offset in the partition."),
    Column("append_time", TIMESTAMP, "When the broker appended the record (UTC)."),
    Column("key", BINARY, "The record's key, raw.", nullable=True),
    Column("value", BINARY, "The record's value, raw, byte for byte.", nullable=True),
    Column("headers", HEADERS, "The record's headers, raw.", nullable=True),
)

_WRITER: tuple[Column, ...] = (
    Column("query_id", STRING, "Streaming query that wrote the row."),
    Column("batch_id", LONG, "Micro-batch of that query that wrote the row."),
)

_INGEST_DATE = Column("ingest_date", DATE, "UTC date of append_time; a partition of the table.")

BRONZE_EVENTS = Table(
    layer="bronze",
    name="events",
    grain="one Kafka record of any topic",
    description=(
        "Everything Kafka ever delivered, byte for byte, valid or not: the platform's memory. Silver can be derived "
        "from it again at any time."
    ),
    columns=(*_RECORD, _INGEST_DATE, *_WRITER),
    key=("topic", "partition", "offset"),
    partition_by=("topic", "ingest_date"),
)

QUARANTINE_EVENTS = Table(
    layer="quarantine",
    name="events",
    grain="one refused Kafka record",
    description=(
        "Records that break their contract, whole and raw, with every reason that applies: nothing is dropped in "
        "silence, and what was mended can be replayed."
    ),
    columns=(
        *_RECORD,
        Column("reasons", STRINGS, "Every reason code that applies, in the contract's order."),
        _INGEST_DATE,
        *_WRITER,
    ),
    key=("topic", "partition", "offset"),
    partition_by=("topic", "ingest_date"),
)

SALES_BY_MINUTE = Table(
    layer="silver",
    name="sales_by_minute",
    grain="sales of one minute by channel, store and currency",
    description=(
        "How the shop is doing, minute by minute of event time, by channel and store: a Spark windowed aggregate of "
        "silver, corrected in place when events come late."
    ),
    columns=(
        Column("minute", TIMESTAMP, "Start of the minute of event time (UTC)."),
        Column("channel", STRING, "Till or web shop."),
        Column("store_id", STRING, "Store that made the sales."),
        Column("currency", STRING, "ISO 4217 code of the amounts."),
        Column("orders", LONG, "Sales in the minute."),
        Column("returns", LONG, "Returns in the minute."),
        Column("units", LONG, "Units sold less units returned."),
        Column("net_amount", decimal(28, 4), "Sales less returns, after discounts, in the currency."),
        Column("business_date", DATE, "Date of the minute in BUSINESS_TIMEZONE; the partition."),
    ),
    key=("minute", "channel", "store_id", "currency"),
    partition_by=("business_date",),
    owner="retail-sales",
)

INGEST_BATCHES = Table(
    layer="ops",
    name="ingest_batches",
    grain="one micro-batch of one streaming query",
    description=(
        "The ledger of the ingest: for each micro-batch the offsets it took, what became of its rows, and when. It is "
        "what lag, latency and the balance (rows in = events + refused + duplicates) are read from."
    ),
    columns=(
        Column("query_id", STRING, "Identity of the query: the checkpoint's."),
        Column("batch_id", LONG, "Number of the micro-batch within the query."),
        Column("query_name", STRING, "Name of the query, e.g. silver/transaction_lines."),
        Column("topic", STRING, "Topic the batch read; * when it read several."),
        Column("start_offsets", STRING, "First offset per topic and partition, as JSON.", nullable=True),
        Column("end_offsets", STRING, "Offset after the last one per topic and partition, as JSON."),
        Column("rows_in", LONG, "Kafka records the batch took."),
        Column("events", LONG, "Valid events it wrote."),
        Column("refused", LONG, "Records it put into quarantine."),
        Column("duplicates", LONG, "Valid events it dropped because silver already has their event_id."),
        Column("business_dates", DATES, "Business dates whose silver rows it added."),
        Column("started_at", TIMESTAMP, "When the batch was planned (UTC)."),
        Column("committed_at", TIMESTAMP, "When its rows became readable (UTC).", nullable=True),
    ),
    key=("query_id", "batch_id"),
)

LOST_OFFSETS = Table(
    layer="ops",
    name="lost_offsets",
    grain="one range of offsets that left Kafka before a query had read it",
    description=(
        "What was lost and is known to be lost: offsets of one partition that Kafka deleted unread, and who accepted that "
        "the stream goes on without them. There is no such table until there is such a loss."
    ),
    columns=(
        Column("query_name", STRING, "Query that did not read them, e.g. bronze/events."),
        Column("topic", STRING, "Kafka topic."),
        Column("partition", INTEGER, "Kafka partition."),
        Column("first_offset", LONG, "First offset that is gone."),
        Column("last_offset", LONG, "Last offset that is gone."),
        Column("found_at", TIMESTAMP, "When the loss was accepted (UTC)."),
        Column("accepted_by", STRING, "User who accepted it."),
        Column("reason", STRING, "Why, in that user's words.", nullable=True),
    ),
    key=("query_name", "topic", "partition", "first_offset"),
)

#: The tables that are the same whatever topics there are.
LAKE_TABLES: tuple[Table, ...] = (BRONZE_EVENTS, QUARANTINE_EVENTS, SALES_BY_MINUTE, INGEST_BATCHES, LOST_OFFSETS)
