"""A stream's heartbeat: a small file that its process rewrites and everybody else reads."""

from __future__ import annotations

import datetime as dt
import errno
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from retail_platform.settings import Settings

#: The stream into the lake; those of the reactions are named in ``reactions/applications.py``.
INGEST = "ingest"

#: A stream that has not written its heartbeat for this long is stuck (a batch on a laptop takes seconds).
STALE_AFTER_SECONDS = 120.0

_BLOCK_BYTES = 512  # the unit of ``st_blocks``, whatever the file system's own


@dataclass(frozen=True, slots=True)
class QueryProgress:
    """One streaming query: batches since the start, records taken, records waiting in Kafka, and its pace."""

    name: str
    batch_id: int = -1
    rows: int = 0
    rows_per_second: float = 0.0
    lag: int | None = None
    batch_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The stream as it was at ``at`` (UTC): ``state`` is starting, running, stopping, stopped or failed (``error`` why).

    ``run_id``: the Dagster run that carries its process ``pid``; ``None`` where a person started it.
    """

    state: str
    mode: str
    pid: int
    started_at: dt.datetime
    at: dt.datetime
    queries: tuple[QueryProgress, ...] = field(default=())
    error: str | None = None
    run_id: str | None = None

    @property
    def age_seconds(self) -> float:
        """How long ago the heartbeat was written."""
        return (dt.datetime.now(dt.UTC) - self.at).total_seconds()

    @property
    def stale(self) -> bool:
        """Whether a stream that should be alive has not been heard of for too long."""
        return self.state in ("starting", "running") and self.age_seconds > STALE_AFTER_SECONDS

    @property
    def lag(self) -> int:
        """Records in Kafka that the slowest query has yet to take."""
        return max((query.lag or 0 for query in self.queries), default=0)


def heartbeat_path(settings: Settings, stream: str = INGEST) -> Path:
    """The file of a stream's heartbeat."""
    return settings.control_dir / f"{stream}.json"


def write_heartbeat(settings: Settings, beat: Heartbeat, stream: str = INGEST) -> None:
    """Replace the heartbeat, atomically; on a full disk, write over the last one, which has its block already.

    Raises:
        OSError: the disk is full, and there is no last one, or not room enough in it.
    """
    path = heartbeat_path(settings, stream)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}.tmp")
    text = json.dumps(asdict(beat), default=lambda moment: moment.isoformat())
    try:
        draft.write_text(text)
    except OSError as error:
        draft.unlink(missing_ok=True)
        if error.errno != errno.ENOSPC or not _written_over(path, text.encode()):
            raise
    else:
        draft.replace(path)


def _written_over(path: Path, text: bytes) -> bool:
    """Whether ``text`` fits into the blocks of the file at ``path``, and now stands there."""
    if not path.exists():
        return False
    with path.open("r+b", buffering=0) as file:
        found = os.fstat(file.fileno())
        fits = len(text) <= found.st_blocks * _BLOCK_BYTES
        if fits:
            file.write(text.ljust(found.st_size))  # blanks may follow JSON
    return fits


def read_heartbeat(settings: Settings, stream: str = INGEST) -> Heartbeat | None:
    """The last heartbeat; ``None`` when that stream never ran."""
    try:
        data = json.loads(heartbeat_path(settings, stream).read_text())
    except FileNotFoundError:
        return None
    data["queries"] = tuple(QueryProgress(**query) for query in data["queries"])
    for name in ("started_at", "at"):
        data[name] = dt.datetime.fromisoformat(data[name])
    return Heartbeat(**data)
