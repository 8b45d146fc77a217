"""Files from one place to another, hashed on the way."""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from retail_platform.backup.manifest import Entry

Progress = Callable[[int], None]
"""Called with the bytes that have been copied so far."""

_PIECE = 1024**2


@dataclass
class Copier:
    """Copies files below ``target``, under their paths relative to RETAIL_HOME, and keeps what the manifest says of them."""

    target: Path
    on_progress: Progress
    entries: list[Entry] = field(default_factory=list)
    _done: int = 0

    def copy(self, source: Path, path: str) -> Entry:
        """Copy one file; what has been written of it when it is opened is what is copied."""
        digest, size = hashlib.sha256(), 0
        with source.open("rb") as reading, self._place(path).open("wb") as writing:
            while piece := reading.read(_PIECE):
                digest.update(piece)
                writing.write(piece)
                size += len(piece)
                self.on_progress(self._done + size)
        return self._keep(Entry(path, size, digest.hexdigest()))

    def copy_sqlite(self, source: Path, path: str) -> Entry:
        """Copy a SQLite database that is in use, by SQLite's own means: as it was after one of its transactions."""
        place = self._place(path)
        with (
            contextlib.closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=rw", uri=True)) as reading,
            contextlib.closing(sqlite3.connect(place)) as writing,
        ):
            reading.backup(writing)
        with place.open("rb") as file:
            return self._keep(Entry(path, place.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()))

    def _place(self, path: str) -> Path:
        place = self.target / path
        place.parent.mkdir(parents=True, exist_ok=True)
        return place

    def _keep(self, entry: Entry) -> Entry:
        self._done += entry.size
        self.on_progress(self._done)
        self.entries.append(entry)
        return entry
