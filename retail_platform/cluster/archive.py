"""Archives that are the same bytes when what is in them is the same: for ``spark.archives``, named by their contents."""

from __future__ import annotations

import gzip
import hashlib
import tarfile
from collections.abc import Iterable
from pathlib import Path

_LEVEL = 3  # more takes twice as long for little
_MOMENT = 315619200  # 2 January 1980: a zip, which Python files are put into again, knows none before it


def pack(target: Path, entries: Iterable[tuple[Path, str]]) -> None:
    """Write files and symbolic links, each under the name beside it, as ``tar.gz``; times and owners are left out."""
    with (
        target.open("wb") as file,
        gzip.GzipFile(filename="", mode="wb", compresslevel=_LEVEL, fileobj=file, mtime=0) as packed,
        tarfile.open(mode="w", fileobj=packed, format=tarfile.GNU_FORMAT) as archive,
    ):
        for path, name in sorted(entries, key=lambda entry: entry[1]):
            member = archive.gettarinfo(path, name)
            member.mtime, member.uid, member.gid, member.uname, member.gname = _MOMENT, 0, 0, "", ""
            if member.islnk():  # two names of one file on this disk, which is of no matter there
                member.type, member.size = tarfile.REGTYPE, path.stat().st_size
            member.mode = 0o755 if member.mode & 0o100 else 0o644
            if member.isreg():
                with path.open("rb") as content:
                    archive.addfile(member, content)
            else:
                archive.addfile(member)


def files_of(root: Path, prefix: str, without: frozenset[str] = frozenset()) -> Iterable[tuple[Path, str]]:
    """The files and links below ``root`` as :func:`pack` takes them, but for ``without``: paths below it, and bytecode."""
    for path in root.rglob("*"):
        below = path.relative_to(root)
        if "__pycache__" in below.parts or any(str(above) in without for above in (below, *below.parents)):
            continue
        if path.is_symlink() or path.is_file():
            yield path, f"{prefix}{below}"


def digest(path: Path) -> str:
    """The first 16 digits of the file's SHA-256: enough to tell one build of ours from another."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
