"""A lake's data files in a bucket, as DuckDB opens them. Imported only for such a lake."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pyarrow.fs as pafs
from fsspec.implementations.arrow import ArrowFSWrapper


class DataFiles(ArrowFSWrapper):  # type: ignore[misc]  # fsspec has no types
    """Arrow's file system for DuckDB, which asks the same of a file again and again: here the store is asked once.

    A data file never changes, and an instance lives as long as the connection that it is registered with.
    """

    # fsspec would hand an earlier instance out again, by an address in memory that may be another store's by now.
    cachable = False

    def __init__(self, place: pafs.FileSystem) -> None:
        super().__init__(place)
        self._known: dict[str, dict[str, Any]] = {}

    def info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        """Size and time of the file."""
        if path not in self._known:
            self._known[path] = super().info(path, **kwargs)
        return self._known[path]

    def modified(self, path: str) -> dt.datetime:
        """When it was written."""
        written: dt.datetime = self.info(path)["mtime"]
        return written
