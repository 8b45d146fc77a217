"""The points at which a driver, or the daily job, can be told to die, and what of the driver dies."""

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
#: Those of the daily job: the load of the transactions into the warehouse, and the KPI file.
DAILY_POINTS = ("after:stage", "before:commit", "after:commit", "before:rename", "after:rename")
VICTIMS = ("python", "jvm", "both")
