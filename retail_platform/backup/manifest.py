"""What a backup says of itself: its files with size and SHA-256, when it was taken, of what, by which versions.

It is written last. A backup without it is unfinished, and one whose manifest names a path outside is refused. Nothing
here touches a file.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any

from retail_platform.errors import RetailError

#: The form of a backup; another number is another form.
FORMAT = 1
#: The names below RETAIL_HOME that a backup has. All else is derived from them, or of the moment: locks, logs, caches.
PARTS = ("kafka", "lake", "checkpoints", "dagster", "models", "warehouse.duckdb")

_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Entry:
    """One file: its path below RETAIL_HOME, its size in bytes, its SHA-256 in hex."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class BackupManifest:
    """A finished backup. ``settings`` are those that its data depends on, ``tables`` the version of each lake table."""

    taken_at: dt.datetime
    versions: Mapping[str, str]
    settings: Mapping[str, str]
    tables: Mapping[str, int]
    files: tuple[Entry, ...]

    @property
    def bytes(self) -> int:
        """The size of all files."""
        return sum(entry.size for entry in self.files)

    def parts(self) -> dict[str, tuple[int, int]]:
        """Files and bytes of each part that it has."""
        found: dict[str, tuple[int, int]] = {}
        for entry in self.files:
            name = PurePosixPath(entry.path).parts[0]
            files, size = found.get(name, (0, 0))
            found[name] = (files + 1, size + entry.size)
        return found


def to_json(manifest: BackupManifest) -> str:
    """The manifest as it is written."""
    document = asdict(manifest) | {"format": FORMAT, "taken_at": manifest.taken_at.isoformat()}
    return json.dumps(document, indent=1) + "\n"


def from_json(text: str) -> BackupManifest:
    """The manifest that ``text`` is.

    Raises:
        RetailError: it is none, of another form, or names a file that does not belong below RETAIL_HOME.
    """
    try:
        document = json.loads(text)
        if document["format"] != FORMAT:
            raise RetailError(
                f"the backup has form {document['format']}, this version reads {FORMAT}; use the version that made it"
            )
        return BackupManifest(
            taken_at=dt.datetime.fromisoformat(document["taken_at"]),
            versions=dict(document["versions"]),
            settings=dict(document["settings"]),
            tables=dict(document["tables"]),
            files=tuple(_entry(given) for given in document["files"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RetailError(f"the backup's manifest cannot be read ({error!r}); take another backup") from error


def is_safe(path: str) -> bool:
    """Whether ``path`` is below one of :data:`PARTS`, however it is read: relative, without ``..``, in its only spelling."""
    parts = PurePosixPath(path).parts
    plain = bool(parts) and "/".join(parts) == path and not {"..", "."} & set(parts)
    return plain and parts[0] in PARTS and "\\" not in path and "\0" not in path


def _entry(given: Mapping[str, Any]) -> Entry:
    entry = Entry(given["path"], given["size"], given["sha256"])
    if not is_safe(entry.path):
        raise RetailError(f"the backup names {entry.path!r}, which is not a file of a backup; nothing was restored")
    if type(entry.size) is not int or entry.size < 0 or not _SHA256.fullmatch(entry.sha256):
        raise ValueError(f"size or checksum of {entry.path}")
    return entry
