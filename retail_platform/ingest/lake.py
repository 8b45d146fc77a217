"""The lake, open for writing by this process: one instance of each table, shared by all who write it here."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pyspark.sql import SparkSession

from retail_platform.contracts import BRONZE_EVENTS, INGEST_BATCHES, QUARANTINE_EVENTS, SALES_BY_MINUTE
from retail_platform.contracts.model import TopicContract
from retail_platform.ingest.ledger import Ledger
from retail_platform.lakehouse.delta import LakeTable, open_table
from retail_platform.settings import Settings


@dataclass(frozen=True, slots=True)
class Lake:
    """Every table of the lake. Only whoever holds the lease may build one."""

    bronze: LakeTable
    quarantine: LakeTable
    silver: dict[str, LakeTable]
    minutes: LakeTable
    ledger: Ledger

    @property
    def tables(self) -> tuple[LakeTable, ...]:
        """All tables, in the order of the lineage."""
        return (self.bronze, self.quarantine, *self.silver.values(), self.minutes, self.ledger.table)

    def silver_of(self, contract: TopicContract) -> LakeTable:
        """The silver table of a topic's events."""
        return self.silver[contract.silver_name]


def open_lake(spark: SparkSession, settings: Settings) -> Lake:
    """Open every table, creating those that are missing.

    Raises:
        RetailError: a table was last written by someone else.
    """
    silver = {contract.silver_name: contract.silver_table for contract in settings.topics}
    tables = (BRONZE_EVENTS, QUARANTINE_EVENTS, *silver.values(), SALES_BY_MINUTE, INGEST_BATCHES)
    with ThreadPoolExecutor(len(tables), "open") as pool:
        opened = dict(zip(tables, pool.map(lambda table: open_table(spark, settings, table), tables), strict=True))
    return Lake(
        bronze=opened[BRONZE_EVENTS],
        quarantine=opened[QUARANTINE_EVENTS],
        silver={name: opened[table] for name, table in silver.items()},
        minutes=opened[SALES_BY_MINUTE],
        ledger=Ledger(opened[INGEST_BATCHES]),
    )
