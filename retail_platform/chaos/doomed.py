"""The real driver, but that it kills itself with SIGKILL at a named point of its work.

``python -m retail_platform.chaos.doomed --point after:silver/transaction_lines --nth 2 --victim both``. The job has no
hook for this and pays nothing: this process wraps the tables' ways of writing before it hands over to the job.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from retail_platform.chaos.points import OPTIMIZE, POINTS, VICTIMS
from retail_platform.ingest import job
from retail_platform.ingest.session import jvm_pid
from retail_platform.lakehouse.delta import Batch, LakeTable

if TYPE_CHECKING:
    from delta.tables import DeltaTable
    from pyspark.sql import DataFrame


@dataclass
class Doom:
    """The point at which this process dies: the ``nth`` time of a work, ``delay`` seconds into it for ``during``.

    ``work`` is the write to a table, by the table's path, or OPTIMIZE.
    """

    moment: str
    work: str
    nth: int
    victim: str
    delay: float
    _seen: int = 0
    _counting: threading.Lock = field(default_factory=threading.Lock)

    @contextlib.contextmanager
    def around(self, work: str, table: LakeTable) -> Iterator[None]:
        """A ``work`` on ``table``, which this process does not survive where it is the point."""
        if not self._is_due(work):
            yield
            return
        jvm = jvm_pid(table.spark)
        if self.moment == "before":
            self._die(jvm)
        elif self.moment == "during":
            threading.Timer(self.delay, self._die, (jvm,)).start()
        yield
        if self.moment == "after":
            self._die(jvm)

    def _is_due(self, work: str) -> bool:
        if work != self.work:
            return False
        with self._counting:
            self._seen += 1
            return self._seen == self.nth

    def _die(self, jvm: int) -> None:
        if self.victim in ("jvm", "both"):
            os.kill(jvm, signal.SIGKILL)
        if self.victim in ("python", "both"):
            os.kill(os.getpid(), signal.SIGKILL)


def put_under(doom: Doom) -> None:
    """Have every table of this process written through ``doom``."""
    append, maintenance = LakeTable.append, LakeTable.maintenance

    def doomed_append(table: LakeTable, rows: DataFrame, batch: Batch) -> None:
        if table.has(batch):
            append(table, rows, batch)  # nothing is written: not a point to die at
            return
        with doom.around(table.table.path, table):
            append(table, rows, batch)

    @contextlib.contextmanager
    def doomed_maintenance(table: LakeTable, small_bytes: int | None = None) -> Iterator[DeltaTable]:
        # Of what the stream does by itself, only the compaction says which files are small; the other is a MERGE.
        work = table.table.path if small_bytes is None else OPTIMIZE
        with doom.around(work, table), maintenance(table, small_bytes) as opened:
            yield opened

    LakeTable.append = doomed_append  # type: ignore[assignment,method-assign]
    LakeTable.maintenance = doomed_maintenance  # type: ignore[assignment,method-assign]


def main(arguments: list[str] | None = None) -> int:
    """Run the job to its death; the exit code is the job's where it does not come to that."""
    parser = argparse.ArgumentParser(prog="retail_platform.chaos.doomed", description=__doc__)
    parser.add_argument("--point", choices=POINTS, required=True)
    parser.add_argument("--nth", type=int, default=1)
    parser.add_argument("--victim", choices=VICTIMS, default="both")
    parser.add_argument("--delay", type=float, default=0.1)
    parser.add_argument("--mode", choices=("available_now", "continuous"), default="continuous")
    given = parser.parse_args(arguments)
    moment, _, work = given.point.partition(":")
    put_under(Doom(moment, work, given.nth, given.victim, given.delay))
    return job.main(["--mode", given.mode])


if __name__ == "__main__":
    sys.exit(main())
