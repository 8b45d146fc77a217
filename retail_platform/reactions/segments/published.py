"""The cut-offs that hold now: the mart ``customer_rfm_cutoffs``, as the nightly run publishes it.

A file and not a topic: it is a mart like any other, tested by dbt and replaced whole by one rename, and it has twelve rows.
A process of another machine needs a folder that both see.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from retail_platform.reactions.segments.quintiles import Cutoffs, Place

FILE = "customer_rfm_cutoffs.parquet"

_DIGEST = 8


def read(path: Path) -> tuple[dt.date, Cutoffs] | None:
    """The date that the published table is for, and its cut-offs; ``None`` before the first, or while it is empty.

    The version is the date and a digest of the content: the same table has the same one, however often it is published.
    """
    try:
        rows = pq.read_table(path).to_pylist()
    except FileNotFoundError:
        return None
    if not rows:
        return None
    places: dict[str, list[Place]] = {"recency": [], "frequency": [], "monetary": []}
    for row in sorted(rows, key=lambda row: (row["measure"], row["tile"])):
        places[row["measure"]].append((Decimal(row["first_value"]), row["first_customer_id"]))
    as_of: dt.date = rows[0]["as_of"]
    bounds = {measure: tuple(found) for measure, found in places.items()}
    digest = hashlib.sha256(repr(sorted(bounds.items())).encode()).hexdigest()[:_DIGEST]
    return as_of, Cutoffs(f"{as_of}.{digest}", **bounds)


def write(path: Path, as_of: dt.date, bounds: Mapping[str, tuple[int, int, int, int]]) -> None:
    """Publish cut-offs of whole numbers by measure, where no nightly run does: the first values of the tiles from 2 to 5."""
    rows = [
        {"as_of": as_of, "measure": measure, "tile": tile, "first_value": Decimal(value), "first_customer_id": ""}
        for measure, values in bounds.items()
        for tile, value in enumerate(values, start=2)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


@dataclass
class Published:
    """The cut-offs of a folder of marts, read again when the file is another."""

    marts: Path
    _stamp: tuple[int, int] | None = field(default=None, init=False)
    _known: Cutoffs | None = field(default=None, init=False)

    def cutoffs(self) -> Cutoffs | None:
        """Those that are published now; ``None`` before the first. Costs a look at the file's name, not at its content."""
        path = self.marts / FILE
        try:
            stat = path.stat()
        except FileNotFoundError:
            return self._known
        if (stamp := (stat.st_ino, stat.st_mtime_ns)) != self._stamp:
            found = read(path)
            self._stamp, self._known = stamp, found[1] if found else None
        return self._known
