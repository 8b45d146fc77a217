"""A stream's heartbeat: a small text that its process rewrites and everybody else reads."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import asdict, dataclass, field

from retail_platform.lakehouse.control import control
from retail_platform.settings import Settings

#: The stream into the lake; those of the reactions are named in ``reactions/applications.py``.
INGEST = "ingest"

#: A stream that has not written its heartbeat for this long is stuck (a batch on a laptop takes seconds).
STALE_AFTER_SECONDS = 120.0


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


def write_heartbeat(settings: Settings, beat: Heartbeat, stream: str = INGEST) -> None:
    """Replace the heartbeat.

    Raises:
        OSError: the disk is full, and there is no last one, or not room enough in it.
        RetailError: it is in the bucket, which cannot be reached.
    """
    text = json.dumps(asdict(beat), default=lambda moment: moment.isoformat())
    control(settings, of_ingest=stream == INGEST).write(f"{stream}.json", text)


def read_heartbeat(settings: Settings, stream: str = INGEST) -> Heartbeat | None:
    """The last heartbeat; ``None`` when that stream never ran.

    Raises:
        RetailError: it is in the bucket, which cannot be reached.
    """
    text = control(settings, of_ingest=stream == INGEST).read(f"{stream}.json")
    if text is None:
        return None
    data = json.loads(text)
    data["queries"] = tuple(QueryProgress(**query) for query in data["queries"])
    for name in ("started_at", "at"):
        data[name] = dt.datetime.fromisoformat(data[name])
    return Heartbeat(**data)
