"""Take a backup while everything runs: each part at one moment, in an order in which the moments belong together.

A part may know less of the parts behind it in the lineage than they know themselves, never more:

1. the warehouse, which then knows no version of the lake that the backup has not;
2. Dagster's history, whose sensors then ask again for what they have seen since;
3. the lake with its checkpoints, in one moment between commits;
4. Kafka, which then has every record that a checkpoint counts as taken.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from retail_platform.backup.copying import Copier
from retail_platform.backup.manifest import PARTS, BackupManifest, to_json
from retail_platform.durable import replace_text
from retail_platform.embedded.broker import EmbeddedBroker
from retail_platform.embedded.jars import locked
from retail_platform.errors import RetailError
from retail_platform.lakehouse.lease import lake_lease
from retail_platform.lakehouse.requests import have_done
from retail_platform.lakehouse.snapshot import files_of, link_tree, snapshot_dir, snapshot_lake
from retail_platform.settings import Settings

MANIFEST = "manifest.json"
DATA = "data"

_PACKAGES = ("retail-platform", "pyspark", "deltalake", "duckdb", "dagster")
_SQLITE = b"SQLite format 3\0"
_SQLITE_LOGS = ("-wal", "-shm", "-journal")
_SPARE_BYTES = 100 * 1024**2

Progress = Callable[[int, int], None]
"""Called with the bytes that have been copied, and about how many there are."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A finished backup; ``seconds`` in all, and for how long the lake and Kafka stood still for it."""

    manifest: BackupManifest
    seconds: float
    lake_seconds: float
    kafka_seconds: float


def back_up(settings: Settings, target: Path, on_progress: Progress) -> Taken:
    """Back up RETAIL_HOME into the folder ``target``, which must not exist or be empty; the manifest comes last.

    Raises:
        RetailError: there is nothing to back up, no room, ``target`` is not empty or is inside RETAIL_HOME, or another
            backup is being taken.
    """
    began = time.monotonic()
    total = _refuse(settings, target)
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    copier = Copier(target / DATA, lambda done: on_progress(done, max(done, total)))
    with _alone(settings):
        _warehouse(settings, copier)
        _dagster(settings, copier)
        _models(settings, copier)
        taken_at = dt.datetime.now(dt.UTC)
        lake_seconds = _timed(lambda: _lake(settings))
        kafka_seconds = _timed(lambda: _kafka(settings))
        tables = _table_versions(snapshot_dir(settings) / settings.lake_dir.name)
        for path in files_of(snapshot_dir(settings)):
            copier.copy(path, path.relative_to(snapshot_dir(settings)).as_posix())
    manifest = BackupManifest(taken_at, _versions(), settings_of(settings), tables, tuple(copier.entries))
    os.sync()
    replace_text(target / MANIFEST, to_json(manifest))
    return Taken(manifest, time.monotonic() - began, lake_seconds, kafka_seconds)


def size_of(settings: Settings) -> dict[str, int]:
    """The bytes of each part that there is now."""
    found = {}
    for part in PARTS:
        path = settings.retail_home / part
        if path.exists():
            files = [path] if path.is_file() else list(files_of(path))
            found[part] = sum(_size(file) for file in files)
    return found


def settings_of(settings: Settings) -> Mapping[str, str]:
    """The settings that the data depends on: with others it would be read wrongly."""
    return {
        "KAFKA_TOPIC": settings.kafka_topic,
        "KAFKA_BOOTSTRAP_SERVERS": "unset" if settings.embedded_kafka else "set",
        "BUSINESS_TIMEZONE": settings.business_timezone,
        "WAREHOUSE": settings.warehouse,
    }


# --- The parts --------------------------------------------------------------------------------------------------------


def _warehouse(settings: Settings, copier: Copier) -> None:
    from retail_platform.warehouse.duckdb import DuckDBWarehouse  # noqa: PLC0415  DuckDB is not needed to restore

    if settings.warehouse_path.exists():
        with DuckDBWarehouse(settings).at_rest() as file:
            copier.copy(file, file.name)


def _dagster(settings: Settings, copier: Copier) -> None:
    for path in files_of(settings.dagster_home):
        relative = path.relative_to(settings.retail_home).as_posix()
        if path.name.endswith(_SQLITE_LOGS):
            continue
        with contextlib.suppress(FileNotFoundError):  # Dagster deletes what belongs to deleted runs
            if _is_sqlite(path):
                copier.copy_sqlite(path, relative)
            else:
                copier.copy(path, relative)


def _models(settings: Settings, copier: Copier) -> None:
    for path in files_of(settings.fraud_models_dir):
        copier.copy(path, path.relative_to(settings.retail_home).as_posix())


def _lake(settings: Settings) -> None:
    """By the stream that runs, between two of its commits; else here, under the lease."""

    def here() -> Mapping[str, Any]:
        with lake_lease(settings, "backup"):
            snapshot_lake(settings)
        return {}

    have_done(settings, "snapshot", {}, here)


def _kafka(settings: Settings) -> None:
    data = settings.kafka_dir / "data"
    if settings.embedded_kafka and data.exists():
        with EmbeddedBroker(settings).standing_still():
            link_tree(data, snapshot_dir(settings) / data.relative_to(settings.retail_home), _sealed)


def _sealed(path: Path) -> bool:
    """Whether it is a segment that Kafka appends to no more: there is a later one."""
    return path.suffix == ".log" and any(other.name > path.name for other in path.parent.glob("*.log"))


# --- Around them ------------------------------------------------------------------------------------------------------


def _refuse(settings: Settings, target: Path) -> int:
    """About how many bytes there are to copy.

    Raises:
        RetailError: there are none, or they cannot be put there.
    """
    sizes = size_of(settings)
    if not sizes:
        raise RetailError(f"there is nothing to back up in {settings.retail_home}; check RETAIL_HOME")
    if target.resolve().is_relative_to(settings.retail_home.resolve()):
        raise RetailError(f"{target} is inside RETAIL_HOME; name a folder elsewhere, best on another disk")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise RetailError(f"{target} is there already and not an empty folder; name a new one")
    place = next(path for path in (target.absolute(), *target.absolute().parents) if path.exists())
    total, free = sum(sizes.values()), shutil.disk_usage(place).free
    if free < total + _SPARE_BYTES:
        raise RetailError(
            f"the backup takes {total / 1e9:.1f} GB and {place} has {free / 1e9:.1f} GB free; name a folder on another disk"
        )
    return total


@contextlib.contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """The snapshot's folder, empty at first, for one backup at a time; gone at the end."""
    settings.control_dir.mkdir(parents=True, exist_ok=True)
    with (settings.control_dir / "backup.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RetailError("another backup is being taken; wait for it") from None
        shutil.rmtree(snapshot_dir(settings), ignore_errors=True)  # of a backup that was killed
        try:
            yield
        finally:
            shutil.rmtree(snapshot_dir(settings), ignore_errors=True)


def _table_versions(lake: Path) -> dict[str, int]:
    logs = sorted(lake.glob("*/*/_delta_log"))
    return {
        log.parent.relative_to(lake).as_posix(): max(
            int(path.stem) for path in log.glob("*.json") if path.stem.isdigit()
        )
        for log in logs
    }


def _versions() -> dict[str, str]:
    kafka = next(jar.coordinate.split(":")[2] for jar in locked()["kafka"] if ":kafka_2" in jar.coordinate)
    return {**{name: version(name) for name in _PACKAGES}, "kafka": kafka}


def _is_sqlite(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_SQLITE)) == _SQLITE


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _timed(do: Callable[[], None]) -> float:
    began = time.monotonic()
    do()
    return time.monotonic() - began
