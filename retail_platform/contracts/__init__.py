"""What every part agrees on: one declaration per Kafka topic and per table.

Spark schemas and validation, warehouse DDL, dbt sources, checks, fixtures and the contract pages under ``docs/``
derive from the declarations in this package. It is pure data and pure functions: no engine, no Dagster, no I/O.
"""

from retail_platform.contracts.inventory import INVENTORY
from retail_platform.contracts.model import Column, Table, TopicContract
from retail_platform.contracts.reactions import (
    CUSTOMER_REFRESHES,
    CUSTOMER_SEGMENTS,
    FRAUD_ALERTS,
    FRAUD_LABELS,
    LIVE_METRICS,
    PRICE_REVIEWS,
    PRICE_ROLLBACKS,
    PRICE_UPDATES,
    REORDER_RELEASES,
    REORDER_REQUESTS,
    STOCK_LEVELS,
)
from retail_platform.contracts.tables import (
    BRONZE_EVENTS,
    INGEST_BATCHES,
    LAKE_TABLES,
    LOST_OFFSETS,
    QUARANTINE_EVENTS,
    SALES_BY_MINUTE,
)
from retail_platform.contracts.transactions import TRANSACTIONS

#: Every topic that others write: tills, the web shop, the stock rooms.
SOURCE_TOPICS: tuple[TopicContract, ...] = (TRANSACTIONS, INVENTORY)

#: Every topic that the reactions write.
REACTION_TOPICS: tuple[TopicContract, ...] = (
    FRAUD_ALERTS,
    LIVE_METRICS,
    STOCK_LEVELS,
    REORDER_REQUESTS,
    CUSTOMER_SEGMENTS,
    PRICE_UPDATES,
)

#: Every topic by which the platform, or a person, tells the reactions something.
CONTROL_TOPICS: tuple[TopicContract, ...] = (
    CUSTOMER_REFRESHES,
    PRICE_REVIEWS,
    PRICE_ROLLBACKS,
    REORDER_RELEASES,
    FRAUD_LABELS,
)

#: Every topic that is ingested. A topic added here is ingested, validated, deduplicated and documented with no other change.
TOPICS: tuple[TopicContract, ...] = (*SOURCE_TOPICS, *REACTION_TOPICS, FRAUD_LABELS)

#: Every Delta table of the lake, in the order of the lineage.
ALL_TABLES: tuple[Table, ...] = (
    BRONZE_EVENTS,
    QUARANTINE_EVENTS,
    *(contract.silver_table for contract in TOPICS),
    SALES_BY_MINUTE,
    INGEST_BATCHES,
    LOST_OFFSETS,
)

#: The lake tables that are loaded into the warehouse's ``raw`` schema.
WAREHOUSE_TABLES: tuple[Table, ...] = (
    *(contract.silver_table for contract in TOPICS),
    SALES_BY_MINUTE,
    INGEST_BATCHES,
)

__all__ = [
    "ALL_TABLES",
    "BRONZE_EVENTS",
    "CONTROL_TOPICS",
    "CUSTOMER_REFRESHES",
    "CUSTOMER_SEGMENTS",
    "FRAUD_ALERTS",
    "FRAUD_LABELS",
    "INGEST_BATCHES",
    "INVENTORY",
    "LAKE_TABLES",
    "LIVE_METRICS",
    "LOST_OFFSETS",
    "PRICE_REVIEWS",
    "PRICE_ROLLBACKS",
    "PRICE_UPDATES",
    "QUARANTINE_EVENTS",
    "REACTION_TOPICS",
    "REORDER_RELEASES",
    "REORDER_REQUESTS",
    "SALES_BY_MINUTE",
    "SOURCE_TOPICS",
    "STOCK_LEVELS",
    "TOPICS",
    "TRANSACTIONS",
    "WAREHOUSE_TABLES",
    "Column",
    "Table",
    "TopicContract",
]
