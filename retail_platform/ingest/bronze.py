"""The bronze query: every record of every topic into one table, byte for byte."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import DataFrame, Observation
from pyspark.sql import functions as F  # noqa: N812

from retail_platform.ingest.ledger import Counts, Ledger
from retail_platform.ingest.query import QueryHandle
from retail_platform.ingest.transforms import bronze_rows
from retail_platform.lakehouse.delta import LakeTable


@dataclass(frozen=True, slots=True)
class BronzeBatches:
    """The ``foreachBatch`` function of the bronze query."""

    handle: QueryHandle
    bronze: LakeTable
    ledger: Ledger

    def __call__(self, rows: DataFrame, batch_id: int) -> None:
        """Append one micro-batch, then enter it into the ledger."""
        batch = self.handle.begin(batch_id)
        if self.bronze.has(batch):
            taken = rows.count()
        else:
            seen = Observation()
            self.bronze.append(
                bronze_rows(rows, batch.query_id, batch_id).observe(seen, F.count(F.lit(1)).alias("rows_in")), batch
            )
            taken = int(seen.get["rows_in"])
        self.ledger.write(self.handle, batch, "*", Counts(rows_in=taken, events=0, refused=0, duplicates=0))
