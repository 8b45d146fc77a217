"""Where the stream and those who watch it leave each other word: a folder of one machine, or a place in the bucket.

Both hold small texts by name, each replaced whole. The bucket is for a stream that runs on another machine.
"""

from __future__ import annotations

import contextlib
import errno
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from retail_platform.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

_BLOCK_BYTES = 512  # the unit of ``st_blocks``, whatever the file system's own
_MISSING = ("NoSuchKey", "404")


class Control(Protocol):
    """Texts by name; a name may have slashes."""

    @property
    def write_seconds(self) -> float:
        """How often it is worth while to write the same thing again."""

    @property
    def look_seconds(self) -> float:
        """How often it is worth while to look."""

    def read(self, name: str) -> str | None:
        """What stands there; ``None`` when nothing does."""

    def write(self, name: str, text: str) -> None:
        """Replace it whole."""

    def remove(self, name: str) -> None:
        """Have nothing stand there; nothing to remove is no error."""

    def names(self, folder: str, suffix: str) -> Sequence[str]:
        """The names in ``folder`` that end in ``suffix``, in their order."""


def control(settings: Settings, *, of_ingest: bool = True) -> Control:
    """The place of the ingest stream, or of the others, which always run on this machine."""
    return _bucket(settings) if of_ingest and settings.stream_is_elsewhere else Folder(settings.control_dir)


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of this machine."""

    root: Path
    write_seconds: float = 1.0
    look_seconds: float = 0.1

    def read(self, name: str) -> str | None:
        """As :class:`Control`."""
        try:
            return (self.root / name).read_text()
        except FileNotFoundError:
            return None

    def write(self, name: str, text: str) -> None:
        """As :class:`Control`; on a full disk, over what stands there, which has its block already.

        Raises:
            OSError: the disk is full, and nothing stands there, or there is not room enough in it.
        """
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(f".{os.getpid()}.tmp")
        try:
            draft.write_text(text)
        except OSError as error:
            draft.unlink(missing_ok=True)
            if error.errno != errno.ENOSPC or not _written_over(path, text.encode()):
                raise
        else:
            draft.replace(path)

    def remove(self, name: str) -> None:
        """As :class:`Control`."""
        (self.root / name).unlink(missing_ok=True)

    def names(self, folder: str, suffix: str) -> list[str]:
        """As :class:`Control`."""
        return sorted(f"{folder}/{path.name}" for path in (self.root / folder).glob(f"*{suffix}"))


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


@dataclass(frozen=True, slots=True)
class Bucket:
    """``control/`` under the lake's prefix of the bucket. Each method raises ``RetailError`` when that cannot be reached."""

    client: Any
    bucket: str
    prefix: str
    # Each is a request, which is paid for, and which the driver waits for.
    write_seconds: float = 5.0
    look_seconds: float = 1.0

    def read(self, name: str) -> str | None:
        """As :class:`Control`."""
        from botocore.exceptions import ClientError  # noqa: PLC0415  only a lake in a bucket needs it

        with self._reaching():
            try:
                answer = self.client.get_object(Bucket=self.bucket, Key=f"{self.prefix}/{name}")
            except ClientError as error:
                if error.response["Error"]["Code"] in _MISSING:
                    return None
                raise
            return bytes(answer["Body"].read()).decode()

    def write(self, name: str, text: str) -> None:
        """As :class:`Control`."""
        with self._reaching():
            self.client.put_object(Bucket=self.bucket, Key=f"{self.prefix}/{name}", Body=text.encode())

    def remove(self, name: str) -> None:
        """As :class:`Control`."""
        with self._reaching():
            self.client.delete_object(Bucket=self.bucket, Key=f"{self.prefix}/{name}")

    def names(self, folder: str, suffix: str) -> list[str]:
        """As :class:`Control`."""
        with self._reaching():
            pages = self.client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=f"{self.prefix}/{folder}/"
            )
            keys = [entry["Key"] for page in pages for entry in page.get("Contents", ())]
        return sorted(key.removeprefix(f"{self.prefix}/") for key in keys if key.endswith(suffix))

    def _reaching(self) -> contextlib.AbstractContextManager[None]:
        from retail_platform.lakehouse.location import asking_bucket  # noqa: PLC0415

        return asking_bucket(f"s3://{self.bucket}/{self.prefix} cannot be read or written")


@lru_cache(maxsize=4)
def _bucket(settings: Settings) -> Bucket:
    from retail_platform.lakehouse.location import bucket_key, s3_client  # noqa: PLC0415

    return Bucket(s3_client(settings), str(settings.s3_bucket), bucket_key(settings, "control"))
