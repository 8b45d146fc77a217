"""How fresh silver is: from Kafka's append to the row read from silver by another process, under a steady load."""

from __future__ import annotations

import contextlib
import multiprocessing
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable

from benchmarks import load
from benchmarks.figures import percentiles
from benchmarks.homes import broker, environment
from benchmarks.processes import Tree, ended
from benchmarks.progress import counted, say
from retail_platform.contracts import TRANSACTIONS
from retail_platform.errors import RetailError
from retail_platform.lakehouse.heartbeat import INGEST, read_heartbeat
from retail_platform.settings import PROJECT_ROOT, Settings

_START_SECONDS = 180.0
_TAIL_SECONDS = 30.0
_BEHIND_SECONDS = 180.0
_LOOK_SECONDS = 0.02


def measure(rate: float = 1000, seconds: float = 120, warm_up_seconds: float = 270) -> dict[str, Any]:
    """Send ``rate`` events a second to a continuous ingest; measure ``seconds`` after ``warm_up_seconds`` of it.

    The job, the broker, the sender and the reader share the machine. Figures: p50, p95, p99 and max in seconds, of the
    rows; how many rows and commits; the rate that was sent.
    """
    with (
        broker() as settings,
        ingesting(settings),
        ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool,
    ):
        await_running(settings)
        sending = pool.submit(load.steady, settings, rate, warm_up_seconds + seconds + _TAIL_SECONDS)
        path = _await_table(settings)
        reader = _Reader(path, time.time() + warm_up_seconds, time.time() + warm_up_seconds + seconds)
        with counted(f"{warm_up_seconds:.0f} s warm-up, then {seconds:.0f} s: rows read", _rows(rate, seconds)) as told:
            reader.run(told)
        sent = sending.result()
    return {
        "parameters": {
            "rate": rate,
            "seconds": seconds,
            "warm_up_seconds": warm_up_seconds,
            "trigger_seconds": settings.ingest_trigger_seconds,
            "nice": settings.ingest_nice,
            "driver_memory": settings.spark_driver_memory,
            "driver_java_options": settings.spark_driver_java_options,
        },
        "figures": {
            **{name: round(value, 2) for name, value in percentiles(reader.latencies, 50, 95, 99).items()},
            "max": round(max(reader.latencies), 2),
            "rows": len(reader.latencies),
            "seconds_between_commits": round(statistics.median(reader.gaps), 2),
            "rate_sent": round(sent),
        },
    }


class _Reader:
    """Another process's view of silver: waits for new versions, and reads the append_time of every row they added.

    It looks for the next version's file, as often as it does: to have the log listed each time would take a quarter of a
    core from the ingest.
    """

    def __init__(self, path: str, begins: float, ends: float) -> None:
        self.latencies: list[float] = []
        self.gaps: list[float] = []
        self._table, self._begins, self._ends = DeltaTable(path), begins, ends
        self._log = Path(path) / "_delta_log"
        self._files = set(self._table.file_uris())
        self._last_commit: float | None = None

    def run(self, told: Callable[[int], None]) -> None:
        """Read until a version holds nothing of the measured time any more.

        Raises:
            RetailError: no such version came in time.
        """
        while True:
            appended = self._next_rows()
            now = time.time()
            measured = appended[(appended >= self._begins) & (appended < self._ends)]
            self.latencies += (now - measured).tolist()
            told(len(self.latencies))
            if len(appended) and appended.min() >= self._ends:
                return
            if now > self._ends + _BEHIND_SECONDS:
                raise RetailError(
                    f"silver is over {_BEHIND_SECONDS:.0f} s behind; this machine cannot keep up; lower --rate"
                )
            if len(measured):
                self._note_gap(now)

    def _note_gap(self, now: float) -> None:
        if self._last_commit is not None:
            self.gaps.append(now - self._last_commit)
        self._last_commit = now

    def _next_rows(self) -> Any:
        """When the rows of the files that are new were appended to Kafka (seconds of the epoch), as a NumPy array."""
        if not (self._log / f"{self._table.version() + 1:020}.json").exists():
            time.sleep(_LOOK_SECONDS)
            return pa.array([], pa.float64()).to_numpy()
        self._table.update_incremental()
        files = set(self._table.file_uris())
        new, self._files = files - self._files, files
        columns = [pq.read_table(file, columns=["append_time"], partitioning=None)["append_time"] for file in new]
        micros = pa.concat_tables([pa.table({"t": column}) for column in columns])["t"].cast(pa.timestamp("us", "UTC"))
        return pc.divide(micros.cast(pa.int64()).cast(pa.float64()), 1e6).to_numpy()


@contextlib.contextmanager
def streaming(settings: Settings, stream: str, *command: str) -> Iterator[Tree]:
    """A stream of the project as a process, ``python -m`` of ``command``."""
    settings.logs_dir.mkdir(parents=True, exist_ok=True)
    with (settings.logs_dir / f"{stream}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=PROJECT_ROOT,
            env=environment(settings),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        with ended(process) as tree:
            yield tree


def ingesting(settings: Settings) -> contextlib.AbstractContextManager[Tree]:
    """The ingest, continuous."""
    return streaming(settings, INGEST, "retail_platform.ingest.job", "--mode", "continuous")


def await_running(settings: Settings, stream: str = INGEST) -> None:
    """Wait until a stream's heartbeat says that it runs.

    Raises:
        RetailError: it failed, or did not start in time; the end of its log is in the message.
    """
    say(f"starting the {stream} stream …")
    deadline = time.monotonic() + _START_SECONDS
    while (beat := read_heartbeat(settings, stream)) is None or beat.state != "running":
        if time.monotonic() > deadline or (beat is not None and beat.state == "failed"):
            log = (settings.logs_dir / f"{stream}.log").read_text(encoding="utf-8", errors="replace")
            raise RetailError(f"the {stream} stream did not start: {log[-1000:]}")
        time.sleep(0.2)


def _await_table(settings: Settings) -> str:
    path = str(settings.lake_dir / TRANSACTIONS.silver_table.path)
    deadline = time.monotonic() + _START_SECONDS
    while not DeltaTable.is_deltatable(path):
        if time.monotonic() > deadline:
            raise RetailError(f"{path} did not appear")
        time.sleep(0.2)
    return path


def _rows(rate: float, seconds: float) -> int:
    return int(rate * seconds * load.LINES_PER_EVENT * (1 - load.POISON))
