"""Files that are replaced whole: a reader sees the old one or the new one, after a crash too."""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

#: No draft is written for that long: an older one is that of a process that was killed.
_ABANDONED_SECONDS = 3600.0


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A draft beside the file, to write in the block; at its end it is forced to the disk and takes the file's place.

    Where the block fails, the file is as it was. What a killed process left beside it an hour ago or more is removed.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path)
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        yield draft
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def replace_text(path: Path, text: str) -> None:
    """Make ``text`` (UTF-8) the content of the file, as :func:`replaced` does.

    Raises:
        OSError: it cannot be written; the file that was there is as it was.
    """
    with replaced(path) as draft:
        draft.write_text(text, encoding="utf-8", newline="")


def _sweep(path: Path) -> None:
    for draft in path.parent.glob(f".{path.name}.*.tmp"):
        try:
            abandoned = time.time() - draft.stat().st_mtime > _ABANDONED_SECONDS
        except FileNotFoundError:
            continue  # renamed meanwhile
        if abandoned:
            draft.unlink(missing_ok=True)
