"""The points of a batch at which a driver can be told to die, and what of it dies."""

from __future__ import annotations

from retail_platform.contracts import (
    BRONZE_EVENTS,
    INGEST_BATCHES,
    INVENTORY,
    QUARANTINE_EVENTS,
    SALES_BY_MINUTE,
    TRANSACTIONS,
)

#: Every table the driver writes. The ledger is last: after it, only the micro-batch's own commit is to come.
TABLES = (
    BRONZE_EVENTS.path,
    QUARANTINE_EVENTS.path,
    TRANSACTIONS.silver_table.path,
    INVENTORY.silver_table.path,
    INGEST_BATCHES.path,
    SALES_BY_MINUTE.path,
)
#: The compaction of today's small files, of whichever table has its turn.
OPTIMIZE = "optimize"
MOMENTS = ("before", "during", "after")
POINTS = tuple(f"{moment}:{work}" for work in (*TABLES, OPTIMIZE) for moment in MOMENTS)
VICTIMS = ("python", "jvm", "both")
