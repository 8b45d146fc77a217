"""Who may write the lake: one process at a time, by an operating-system lock on a file that names the holder.

Delta on a path cannot arbitrate between two Spark drivers (the second overwrites the first's commits in silence), so
every writer takes this lease first. The kernel frees it when the holder dies, however it dies. A lake in a bucket is
within reach of other machines too: there the holder takes the bucket's own lease as well (``bucket_lease.py``).
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from retail_platform.errors import RetailError
from retail_platform.settings import Settings

_FILE = "lake.lease"


class LakeInUse(RetailError):  # noqa: N818  (it names the state, as BlockingIOError does)
    """Another process of this installation writes the lake. The message names it."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has the lease: what it is, its process, its JVM when it has started one, since when (UTC), where if not here."""

    owner: str
    pid: int
    since: str
    jvm_pid: int | None = None
    host: str | None = None

    def __str__(self) -> str:
        return f"{self.owner} (process {self.pid}{f' on {self.host}' if self.host else ''})"


@dataclass(slots=True)
class Lease:
    """A lease that is held; kept by keeping the file open."""

    file: TextIO
    holder: Holder

    def name_jvm(self, pid: int) -> None:
        """Record the JVM that writes under this lease, so that a successor can make sure that it is gone."""
        self.holder = Holder(self.holder.owner, self.holder.pid, self.holder.since, pid)
        _write(self.file, self.holder)

    def end_jvm(self) -> bool:
        """Kill the JVM: it may write no more. Whether there was one."""
        if self.holder.jvm_pid is None:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.holder.jvm_pid, signal.SIGKILL)
        return True


def lease_path(settings: Settings) -> Path:
    """The file that the lease is a lock on."""
    return settings.control_dir / _FILE


def holder(settings: Settings) -> Holder | None:
    """Who has the lease now; ``None`` when nobody has it.

    Raises:
        RetailError: the stream runs on another machine, and the bucket where its lease is cannot be reached.
    """
    path = lease_path(settings)
    if path.exists():
        with path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return _read(file) or Holder("an unnamed process", 0, "")
    if settings.stream_is_elsewhere:
        from retail_platform.lakehouse.bucket_lease import bucket_holder  # noqa: PLC0415  only a bucket needs boto3

        found = bucket_holder(settings)
        if found is not None:
            return Holder(found["owner"], found["pid"], found["since"], host=found["host"])
    return None


def ever_held(settings: Settings) -> bool:
    """Whether anybody has ever had the lease, as far as is known here.

    Raises:
        RetailError: as :func:`holder`.
    """
    if lease_path(settings).exists():
        return True
    if not settings.stream_is_elsewhere:
        return False
    from retail_platform.lakehouse.bucket_lease import bucket_lease_exists  # noqa: PLC0415

    return bucket_lease_exists(settings)


@contextlib.contextmanager
def lake_lease(settings: Settings, owner: str, wait_seconds: float = 0) -> Iterator[Lease]:
    """Hold the lake for ``owner``.

    Raises:
        LakeInUse: somebody else has it, and still has it after ``wait_seconds``.
        RetailError: the lake is in a bucket, and another installation has it, or the bucket cannot be reached.
    """
    path = lease_path(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        _lock(file, wait_seconds)
        _bury(_read(file))
        lease = Lease(file, Holder(owner, os.getpid(), dt.datetime.now(dt.UTC).isoformat(timespec="seconds")))
        _write(file, lease.holder)
        with contextlib.ExitStack() as also:
            if settings.s3_bucket is not None:
                from retail_platform.lakehouse.bucket_lease import bucket_lease  # noqa: PLC0415  only a bucket needs boto3

                also.enter_context(bucket_lease(settings, owner, lease.holder.since, lease.end_jvm, wait_seconds))
            yield lease
        file.truncate(0)


def _lock(file: TextIO, wait_seconds: float) -> None:
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                now = _read(file)
                who = f"{now.owner} (process {now.pid}, since {now.since})" if now else "another process"
                raise LakeInUse(
                    f"the lake is being written by {who}; stop it with `retail stream stop`, or wait for it"
                ) from None
            time.sleep(0.1)
        else:
            return


def _bury(previous: Holder | None) -> None:
    """End the JVM of a holder that was killed: it outlives its Python process by a moment and could still commit."""
    if previous is None or previous.jvm_pid is None:
        return
    deadline = time.monotonic() + 10
    while _is_java(previous.jvm_pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(previous.jvm_pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise LakeInUse(f"process {previous.jvm_pid} of a stream that died still runs; end it with kill -9")
        time.sleep(0.05)


def _is_java(pid: int) -> bool:
    """Whether the process is a live Spark JVM (a reused pid is not): only where ``/proc`` tells."""
    try:
        return b"org.apache.spark.deploy.SparkSubmit" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _read(file: TextIO) -> Holder | None:
    file.seek(0)
    try:
        return Holder(**json.loads(file.read()))
    except (ValueError, TypeError):
        return None


def _write(file: TextIO, now: Holder) -> None:
    file.seek(0)
    file.truncate(0)
    file.write(json.dumps(asdict(now)))
    file.flush()
