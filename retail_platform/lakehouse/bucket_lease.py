"""The lease of a lake in a bucket: one object, written only under a condition, so that two machines cannot both have it.

The holder renews it every few seconds and ends its own JVM when it has not managed to for :data:`_FENCE_SECONDS`, long
before the lease runs out for others after :data:`EXPIRY_SECONDS`. How old a lease is, is told by the store's clock alone.
"""

from __future__ import annotations

import contextlib
import email.utils
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from botocore.exceptions import ClientError

from retail_platform.errors import RetailError
from retail_platform.lakehouse.location import asking_bucket, bucket_key, s3_client
from retail_platform.settings import Settings

#: Unrenewed for this long, a lease may be taken by anybody.
EXPIRY_SECONDS = 60.0
_RENEW_SECONDS = 10.0
# A renewal tries for eight seconds at most: with them the holder still ends before the lease does.
_FENCE_SECONDS = 40.0
_POLL_SECONDS = 1.0
_OBJECT = "control/lake.lease"
_NOT_OURS = ("PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey")


class BucketInUse(RetailError):  # noqa: N818  (it names the state)
    """A process of another installation writes the lake. The message names it."""


@dataclass(frozen=True, slots=True)
class _Found:
    """The lease as the bucket has it; ``age`` (seconds) by the store's clock."""

    record: dict[str, Any]
    etag: str
    age: float


@dataclass
class _BucketLease:
    client: Any
    bucket: str
    key: str
    record: dict[str, Any]
    on_loss: Callable[[], bool]
    lost: str | None = None
    _etag: str = ""
    _renewed: float = 0.0
    _ended: threading.Event = field(default_factory=threading.Event)

    def take(self, wait_seconds: float) -> None:
        deadline = time.monotonic() + wait_seconds
        while True:
            found = self.find()
            if found is None or self._is_free(found.record) or found.age > EXPIRY_SECONDS:
                condition = {"IfNoneMatch": "*"} if found is None else {"IfMatch": found.etag}
                if self._put(self.record, condition):
                    break
                continue  # somebody else was quicker: look who
            if time.monotonic() > deadline:
                who = "{owner} (process {pid} on {host}, since {since})".format(**found.record)
                raise BucketInUse(
                    f"the lake in s3://{self.bucket}/{self.key.removesuffix('/' + _OBJECT)} is being written by {who}; "
                    f"stop it there, or wait: if it has died its lease runs out in {EXPIRY_SECONDS - found.age:.0f} s"
                )
            time.sleep(_POLL_SECONDS)
        if self._put(self.record, {"IfNoneMatch": "*"}):
            raise RetailError(
                "the store of S3_BUCKET takes no notice of conditions on writes (If-None-Match), so nothing can keep two "
                "writers apart; use one that does, as AWS S3 and MinIO do"
            )

    def _is_free(self, record: dict[str, Any]) -> bool:
        """Whether its holder has let it go, or was of this installation: whoever asks has that one's local lease."""
        mine = all(record.get(name) == self.record[name] for name in ("host", "installation"))
        return bool(mine or record.get("released"))

    def end(self) -> None:
        """Have it renewed no more."""
        self._ended.set()

    def keep(self) -> None:
        """Renew it until it is released or lost; the body of a thread."""
        while not self._ended.wait(_RENEW_SECONDS):
            why = "it could not be renewed in time"
            try:
                if not self._put(self.record, {"IfMatch": self._etag}) and not self._recognize():
                    self._lose("another process has taken it")
                    return
            except RetailError as error:
                why = str(error)
            if time.monotonic() - self._renewed > _FENCE_SECONDS:
                self._lose(why)
                return

    def release(self) -> None:
        """Let it go, when nothing renews it any more."""
        if self.lost is None:
            with contextlib.suppress(RetailError):  # it runs out by itself
                self._put(self.record | {"released": True}, {"IfMatch": self._etag})

    def _recognize(self) -> bool:
        """Whether the lease is ours after all: an answer that was lost on its way looks like a refusal."""
        found = self.find()
        if found is None or found.record.get("token") != self.record["token"]:
            return False
        self._etag = found.etag
        return True

    def _lose(self, why: str) -> None:
        if self._ended.is_set():
            return
        self.lost = f"the lease of the lake in s3://{self.bucket} is lost: {why}; nothing more was written, start again"
        # A JVM that has yet to come up is ended as soon as it has.
        while not self.on_loss() and not self._ended.wait(_POLL_SECONDS):
            pass

    def find(self) -> _Found | None:
        """The lease as the bucket has it now."""
        with self._asking():
            try:
                answer = self.client.get_object(Bucket=self.bucket, Key=self.key)
            except ClientError as error:
                if error.response["Error"]["Code"] == "NoSuchKey":
                    return None
                raise
            now = email.utils.parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
            return _Found(
                json.loads(answer["Body"].read()), answer["ETag"], (now - answer["LastModified"]).total_seconds()
            )

    def _put(self, record: dict[str, Any], condition: dict[str, str]) -> bool:
        """Write it if the condition holds; whether it did."""
        asked = time.monotonic()
        # A tag is a hash of what is written: each renewal must write something else, or it would not guard the next.
        body = json.dumps(record | {"renewal": uuid.uuid4().hex}).encode()
        with self._asking():
            try:
                answer = self.client.put_object(Bucket=self.bucket, Key=self.key, Body=body, **condition)
            except ClientError as error:
                if error.response["Error"]["Code"] in _NOT_OURS:
                    return False
                raise
        self._etag, self._renewed = answer["ETag"], asked
        return True

    def _asking(self) -> contextlib.AbstractContextManager[None]:
        return asking_bucket(f"S3_BUCKET {self.bucket} does not let the lake's lease be read or written")


@contextlib.contextmanager
def bucket_lease(
    settings: Settings, owner: str, since: str, on_loss: Callable[[], bool], wait_seconds: float = 0
) -> Iterator[None]:
    """Hold the lake in ``S3_BUCKET`` for ``owner``; ``on_loss`` must end whatever writes it, at once.

    It says whether there was anything to end; while there was not it is called again.

    Raises:
        BucketInUse: a process of another installation has it, and still has it after ``wait_seconds``.
        RetailError: the bucket cannot be reached, or the lease was lost within the block.
    """
    record = {
        "owner": owner,
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "installation": _installation(settings),
        "since": since,
        "token": uuid.uuid4().hex,
    }
    key = bucket_key(settings, _OBJECT)
    lease = _BucketLease(s3_client(settings), str(settings.s3_bucket), key, record, on_loss)
    lease.take(wait_seconds)
    keeper = threading.Thread(target=lease.keep, name="lease", daemon=True)
    keeper.start()
    try:
        yield
    except Exception as error:
        if lease.lost is not None:
            raise RetailError(lease.lost) from error
        raise
    finally:
        lease.end()
        keeper.join()
        lease.release()


def bucket_holder(settings: Settings) -> dict[str, Any] | None:
    """The record of who has the bucket's lease: ``owner``, ``pid``, ``host``, ``since``; ``None`` when nobody has it.

    Raises:
        RetailError: the bucket cannot be reached.
    """
    found = _lease_of(settings).find()
    taken = found is not None and not found.record.get("released") and found.age <= EXPIRY_SECONDS
    return found.record if found is not None and taken else None


def bucket_lease_exists(settings: Settings) -> bool:
    """Whether anybody has ever had the bucket's lease.

    Raises:
        RetailError: the bucket cannot be reached.
    """
    return _lease_of(settings).find() is not None


@lru_cache(maxsize=4)
def _lease_of(settings: Settings) -> _BucketLease:
    """For a look at it."""
    return _BucketLease(s3_client(settings), str(settings.s3_bucket), bucket_key(settings, _OBJECT), {}, lambda: True)


def _installation(settings: Settings) -> str:
    """What tells this RETAIL_HOME from others on the same machine."""
    file = settings.control_dir / "installation"
    if not file.exists():
        draft = file.with_suffix(f".{os.getpid()}.tmp")
        draft.write_text(uuid.uuid4().hex)
        draft.replace(file)
    return file.read_text()
