"""What a micro-batch may know of the streaming query that it belongs to: its identity, offsets, and observed counts.

Spark hands a ``foreachBatch`` function only rows and a number; the rest is asked of the running query here, and nowhere
else.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from typing import Any

from pyspark.sql.streaming.query import StreamingQuery

from retail_platform.lakehouse.checkpoints import Offsets
from retail_platform.lakehouse.delta import Batch
from retail_platform.lakehouse.location import Place


class StopRequested(Exception):  # noqa: N818  (a signal, not a fault)
    """Raised by a batch that has not begun, when the job is stopping: the query ends between two batches."""


@dataclass
class QueryHandle:
    """A streaming query and its checkpoint. The batch function has the handle before the query exists.

    ``first`` is where the query begins: empty when that is with what there is.
    """

    name: str
    checkpoint: Place
    stopping: threading.Event
    first: Offsets = field(default_factory=dict)
    _started: threading.Event = field(default_factory=threading.Event)
    _query: StreamingQuery | None = None

    def started(self, query: StreamingQuery) -> None:
        """Tell the batches which query they are in."""
        self._query = query
        self._started.set()

    @property
    def has_started(self) -> bool:
        """Whether there is a query; there is none where its start failed."""
        return self._query is not None

    @property
    def query(self) -> StreamingQuery:
        """The running query; waits until it has been started."""
        self._started.wait()
        if self._query is None:
            raise RuntimeError(f"{self.name} was never started")
        return self._query

    def begin(self, batch_id: int) -> Batch:
        """The identity of a batch that begins now.

        Raises:
            StopRequested: the job is stopping.
        """
        query = self.query
        if self.stopping.is_set():
            raise StopRequested
        return Batch(str(query.id), batch_id)

    def observed(self, name: str) -> dict[str, Any]:
        """The metrics ``observe(name, …)`` counted in the batch that runs now; call it after the rows were computed.

        Progress events have the same numbers, but only after the batch, and never again if the driver dies in between.
        """
        execution = self.query._jsq.streamingQuery().lastExecution()  # noqa: SLF001
        row = execution.observedMetrics().get(name).get()
        return {field_name: row.get(position) for position, field_name in enumerate(row.schema().fieldNames())}

    def offsets(self, batch_id: int) -> tuple[Offsets, Offsets, int]:
        """Where the batch starts and ends, and when it was planned (milliseconds), from the query's offset log."""
        end, metadata = self._logged(batch_id)
        start = self._logged(batch_id - 1)[0] if batch_id else self.first
        return start, end, int(metadata["batchTimestampMs"])

    def clock(self, batch_id: int) -> tuple[int, int]:
        """When the batch was planned, and the watermark at that time (0: none yet), both in milliseconds since 1970."""
        metadata = self._logged(batch_id)[1]
        return int(metadata["batchTimestampMs"]), int(metadata["batchWatermarkMs"])

    def _logged(self, batch_id: int) -> tuple[Offsets, dict[str, Any]]:
        _, metadata, source = (self.checkpoint / "offsets" / str(batch_id)).text().strip().split("\n", 2)
        return json.loads(source), json.loads(metadata)
