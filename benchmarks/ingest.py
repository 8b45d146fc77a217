"""The project's own streaming job as a process, and how it does."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.homes import environment
from benchmarks.processes import Tree, watched
from benchmarks.progress import say
from retail_platform import kafka
from retail_platform.contracts import BRONZE_EVENTS, QUARANTINE_EVENTS
from retail_platform.errors import RetailError
from retail_platform.lakehouse import quality
from retail_platform.lakehouse.heartbeat import Heartbeat, read_heartbeat
from retail_platform.lakehouse.manifest import manifest
from retail_platform.lakehouse.reading import ends_of, ledger, rows_of
from retail_platform.settings import PROJECT_ROOT, Settings

_START_SECONDS = 180.0
_LOOK_SECONDS = 0.2
_LOG_END = 1000


@dataclass(frozen=True, slots=True)
class Job:
    """A running job, with all that it has started."""

    settings: Settings
    process: subprocess.Popen[bytes]
    tree: Tree

    def await_running(self) -> None:
        """Wait until the queries run.

        Raises:
            RetailError: they do not, in time.
        """
        say("starting the continuous ingest …")
        deadline = time.monotonic() + _START_SECONDS
        while (beat := read_heartbeat(self.settings)) is None or beat.state != "running":
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise RetailError(f"the ingest did not start: {self._said()}")
            time.sleep(_LOOK_SECONDS)

    def beat(self) -> Heartbeat:
        """How it does now.

        Raises:
            RetailError: it has ended.
        """
        beat = read_heartbeat(self.settings)
        if beat is None or self.process.poll() is not None:
            raise RetailError(f"the ingest has ended: {self._said()}")
        return beat

    def await_drained(self, seconds: float) -> None:
        """Wait until all that Kafka holds has been through it.

        Raises:
            RetailError: it has not, within that time; or it has ended.
        """
        deadline = time.monotonic() + seconds
        while lag(self.settings):
            self.beat()
            if time.monotonic() > deadline:
                raise RetailError(f"not all that Kafka holds is in the lake after {seconds:.0f} s")
            time.sleep(_LOOK_SECONDS)

    def await_end(self) -> None:
        """Wait until it has ended by itself.

        Raises:
            RetailError: it failed.
        """
        if self.process.wait():
            raise RetailError(f"the ingest failed: {self._said()}")

    def _said(self) -> str:
        log = self.settings.logs_dir / "ingest.log"
        return log.read_text(encoding="utf-8", errors="replace")[-_LOG_END:]


@contextlib.contextmanager
def ingest(settings: Settings, mode: str) -> Iterator[Job]:
    """The job in that mode, watched; nothing of it is left at the end."""
    settings.logs_dir.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "retail_platform.ingest.job", "--mode", mode]
    with (settings.logs_dir / "ingest.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=PROJECT_ROOT, env=environment(settings), stdout=log, stderr=log, start_new_session=True
        )
        with watched(process) as tree:
            yield Job(settings, process, tree)


def held(settings: Settings) -> int:
    """How many records Kafka holds on the contracts' topics."""
    reach = kafka.offsets(settings, [contract.topic for contract in settings.topics])
    return sum(last - first for partitions in reach.values() for first, last in partitions.values())


def lag(settings: Settings) -> int:
    """How many records the slowest query has yet to bring into the lake.

    Spark's own figure leaves out the batch that runs.
    """
    reach = kafka.offsets(settings, [contract.topic for contract in settings.topics])
    batches = ledger(settings)
    behind: dict[str, int] = {}
    for contract in settings.topics:
        for query in (BRONZE_EVENTS.path, contract.silver_table.path):
            taken = ends_of(batches, query, contract.topic)
            missing = sum(last - taken.get(number, 0) for number, (_, last) in reach[contract.topic].items())
            behind[query] = behind.get(query, 0) + missing
    return max(behind.values())


def refuse_loss(settings: Settings) -> None:
    """Compare what Kafka holds with what the lake accounts for.

    Raises:
        RetailError: they differ.
    """
    in_kafka = held(settings)
    (found,) = rows_of(manifest(settings, BRONZE_EVENTS), "select count(*) from t") or [(0,)]
    if found[0] != in_kafka:
        raise RetailError(f"Kafka holds {in_kafka} records, bronze {found[0]}")
    for entry in quality.balance(settings):
        if entry.difference:
            raise RetailError(f"{entry.topic}: {entry.difference:+} records are not accounted for")


def quarantined(settings: Settings) -> int:
    """How many records are in quarantine with at least one reason."""
    found = rows_of(manifest(settings, QUARANTINE_EVENTS), "select count(*) from t where len(reasons) > 0")
    return int(found[0][0]) if found else 0
