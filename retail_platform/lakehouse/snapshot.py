"""One moment of a folder that is written to: hard links to what never changes again, copies of the rest.

The moment takes as long as naming the files does; whoever wants them elsewhere copies them afterwards, at leisure, while
the writers go on. That nobody writes during the moment is the caller's business.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from retail_platform.settings import Settings

#: Written once, under a name that is never used again: Delta's and Spark's large files.
_WRITTEN_ONCE = (".parquet", ".sst", ".zip")
_NO_LINKS = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP)

Unchanging = Callable[[Path], bool]
"""Whether a file is never written to again; it may still be deleted."""


def snapshot_dir(settings: Settings) -> Path:
    """Where a moment is kept until it has been copied: on the disk that the state is on, or there would be no links."""
    return settings.retail_home / "snapshot"


def snapshot_lake(settings: Settings) -> None:
    """Keep this moment of the lake and its checkpoints. No table may be committed to meanwhile.

    Then it does not matter that the queries go on to where they next commit: Spark logs a batch's offsets before the
    batch and its end after it, so a checkpoint that is copied while the tables stand still is at most one batch ahead
    of them, as after a kill, and never behind.
    """
    for folder in (settings.lake_dir, settings.checkpoints_dir):
        link_tree(folder, snapshot_dir(settings) / folder.name, lambda path: path.suffix in _WRITTEN_ONCE)


def link_tree(source: Path, target: Path, unchanging: Unchanging) -> None:
    """Name the files of ``source`` again below ``target``, or copy those that may still change; symlinks are left out."""
    for path in files_of(source):
        named = target / path.relative_to(source)
        named.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # deleted since it was listed: nothing needs it
            if unchanging(path):
                _link(path, named)
            else:
                shutil.copyfile(path, named)


def files_of(folder: Path) -> Iterator[Path]:
    """The plain files below ``folder``, but for drafts and Hadoop's own checksums of each file, which may be a step behind."""
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(place) / name
            passing = name.endswith(".tmp") or (name.startswith(".") and name.endswith(".crc"))
            if not passing and path.is_file() and not path.is_symlink():
                yield path


def _link(path: Path, named: Path) -> None:
    try:
        os.link(path, named)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        shutil.copyfile(path, named)
