"""Files that are replaced whole: a reader sees the old one or the new one, after a crash too."""

from __future__ import annotations

import os
import uuid
from pathlib import Path


def replace_text(path: Path, text: str) -> None:
    """Make ``text`` (UTF-8) the content of the file: written beside it, forced to the disk, renamed over it.

    Raises:
        OSError: it cannot be written; the file that was there is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with draft.open("x", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
