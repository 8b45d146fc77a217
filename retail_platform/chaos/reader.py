"""A reader beside the writers: what it has seen once in an insert-only table it must see ever after."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from retail_platform.chaos.finding import Finding
from retail_platform.contracts import BRONZE_EVENTS, INGEST_BATCHES, QUARANTINE_EVENTS
from retail_platform.contracts.model import Table
from retail_platform.settings import Settings

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_LOOK_SECONDS = 3.0


@dataclass
class Reader:
    """Reads the keys of every insert-only table again and again, and compares with what it read before."""

    settings: Settings
    findings: list[Finding] = field(default_factory=list)
    versions: dict[str, set[int]] = field(default_factory=dict)
    _done: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Look until told to stop."""
        import duckdb

        with duckdb.connect(":memory:") as seen:
            seen.execute("set threads = 1")
            while not self._done.wait(_LOOK_SECONDS):
                self.look(seen)
            self.look(seen)

    def stop(self) -> None:
        """Look once more and end."""
        self._done.set()

    def look(self, seen: DuckDBPyConnection) -> None:
        """Compare each table with what was seen of it."""
        for table in insert_only(self.settings):
            try:
                self._compare(seen, table)
            except Exception as error:  # noqa: BLE001  (a reader that cannot read is what is looked for)
                self.findings.append(Finding("a reader can always read", 1, f"{table.path}: {error}"[:300]))

    def _compare(self, seen: DuckDBPyConnection, table: Table) -> None:
        from deltalake import DeltaTable

        path = self.settings.lake_dir / table.path
        if not DeltaTable.is_deltatable(str(path)):
            return
        delta = DeltaTable(path)
        version, known = delta.version(), self.versions.setdefault(table.path, set())
        if version in known:
            return
        if known and version < max(known):
            self.findings.append(Finding("versions only grow", 1, f"{table.path}: {version} after {max(known)}"))
        known.add(version)
        files = delta.file_uris()
        if files:
            gone = _gone(seen, table, files)
            if gone:
                self.findings.append(Finding("a row that was seen stays", gone, f"{table.path} at version {version}"))


def _gone(seen: DuckDBPyConnection, table: Table, files: list[str]) -> int:
    """How many keys were seen before and are not in ``files``; those are what is seen from now on."""
    name = table.path.replace("/", "_")
    key = ", ".join(f'"{column}"' for column in table.key)
    seen.execute(
        f"create or replace table new_{name} as select distinct {key} from read_parquet($files, hive_partitioning = true)",
        {"files": files},
    )
    seen.execute(f"create table if not exists {name} as from new_{name} limit 0")
    row = seen.execute(f"select count(*) from (from {name} except from new_{name})").fetchone()
    seen.execute(f"create or replace table {name} as from new_{name}")
    return int(row[0]) if row else 0


def insert_only(settings: Settings) -> tuple[Table, ...]:
    """The tables from which the stream never takes a row away."""
    silver = (contract.silver_table for contract in settings.topics)
    return (BRONZE_EVENTS, QUARANTINE_EVENTS, *silver, INGEST_BATCHES)


@contextmanager
def running_reader(settings: Settings) -> Iterator[Reader]:
    """The reader at work in a thread of its own, until the end of the block."""
    reader = Reader(settings)
    thread = threading.Thread(target=reader.run, name="reader", daemon=True)
    thread.start()
    try:
        yield reader
    finally:
        reader.stop()
        thread.join()
