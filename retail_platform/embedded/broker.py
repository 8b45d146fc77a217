"""A real Apache Kafka broker for a laptop: one KRaft node, loopback only, a small heap, its data below ``RETAIL_HOME``.

The process outlives the one that starts it. Whether it lives is told by a lock on its folder, which it inherits and
which dies with it, never by a process id alone: ids are reused. Clients and topics are the business of ``kafka.py``.
"""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import errno
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from pydantic import SecretStr

from retail_platform import kafka
from retail_platform.embedded.jars import class_path
from retail_platform.embedded.java import find_java
from retail_platform.errors import RetailError, SettingsError
from retail_platform.settings import Settings, child_environment

Progress = Callable[[str], None]
"""Called with what is being done now, in a few words."""

_START_SECONDS = 120.0
_STOP_SECONDS = 30.0
_POLL_SECONDS = 0.1
_HALT_SECONDS = 5.0
_HALT_POLL_SECONDS = 0.002
_LEAST_FREE_BYTES = 200 * 1024**2

_JVM_OPTIONS = (
    "-Xmx256m",
    "-Xms64m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:+ExitOnOutOfMemoryError",
    "-Djava.awt.headless=true",
)
# They would change the broker's options, or print a banner into its log.
_JVM_VARIABLES = ("CLASSPATH", "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS")

_LOGGING = """\
status=error
rootLogger.level=warn
rootLogger.appenderRefs=console
rootLogger.appenderRef.console.ref=CONSOLE
appender.console.type=Console
appender.console.name=CONSOLE
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d{ISO8601} %p %c{1}: %m%n
"""

# The short broker session is what makes a restart after kill -9 take 5 seconds instead of 14.
_CONFIGURATION = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=CLIENT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=CLIENT://127.0.0.1:{port}
inter.broker.listener.name=CLIENT
controller.listener.names=CONTROLLER
listener.security.protocol.map=CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
default.replication.factor=1
group.initial.rebalance.delay.ms=0
log.cleaner.dedupe.buffer.size=8388608
log.index.size.max.bytes=1048576
log.retention.hours=168
log.segment.bytes=67108864
metadata.log.segment.bytes=8388608
num.io.threads=4
num.network.threads=2
num.recovery.threads.per.data.dir=2
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
offsets.topic.segment.bytes=8388608
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.segment.bytes=8388608
"""


@dataclass(frozen=True, slots=True)
class Guard:
    """What makes the broker ask its clients who they are, to try out what a production cluster asks. Without it, nothing does.

    ``properties`` win over the broker's own, in Kafka's names. ``users`` get these passwords (SCRAM-SHA-512) when its folder
    is prepared: they stand in the arguments of that one process, so these are no passwords of anything else.
    """

    properties: Mapping[str, str] = field(default_factory=dict)
    users: Mapping[str, SecretStr] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BrokerStatus:
    """The embedded broker as it is now; ``pid``, ``port`` and ``since`` (UTC) are those of the one that runs.

    ``bytes`` is the disk space that its data takes.
    """

    running: bool
    pid: int | None
    port: int | None
    since: dt.datetime | None
    data_dir: Path
    bytes: int


class EmbeddedBroker:
    """The broker of one ``RETAIL_HOME``. Any number of processes may hold one of these; there is one broker."""

    def __init__(self, settings: Settings, guard: Guard | None = None) -> None:
        self.settings = settings
        self._guard = guard or Guard()
        self._dir = settings.kafka_dir
        self._data = settings.kafka_dir / "data"
        self._log = settings.logs_dir / "kafka.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, on_progress: Progress | None = None) -> None:
        """Start the broker unless it runs, wait until it answers, create the contracts' topics.

        Raises:
            RetailError: it cannot start; the line says why and what to do.
        """
        say = on_progress or (lambda _: None)
        if not self.settings.embedded_kafka:
            raise RetailError(
                f"KAFKA_BOOTSTRAP_SERVERS={self.settings.kafka_bootstrap_servers} is set, so that cluster is used and "
                "no broker is started; unset it for the embedded one"
            )
        deadline = time.monotonic() + _START_SECONDS
        while (lock := self._try_lock()) is None:
            if self._attach():
                break
            self._pause(deadline, "another process holds the folder of the embedded broker, but no broker answers")
        if lock is not None:
            with lock:
                self._launch(lock, deadline, say)
        say("creating topics")
        kafka.ensure_topics(self.settings)

    def stop(self) -> None:
        """Stop the broker, whoever started it; nothing happens when none runs.

        Raises:
            RetailError: it belongs to another user.
        """
        deadline = time.monotonic() + _STOP_SECONDS
        told = False
        while self._locked():
            record = self._record()
            overdue = time.monotonic() > deadline
            if record is not None and (overdue or not told):
                _signal(record["pid"], signal.SIGKILL if overdue else signal.SIGTERM)
                told = True
            elif overdue:
                raise RetailError(f"another process holds {self._dir} but runs no broker; end it first")
            time.sleep(_POLL_SECONDS)
        if self._process is not None:
            self._process.wait()
            self._process = None

    @contextlib.contextmanager
    def standing_still(self) -> Iterator[None]:
        """Until the end of the block its files are what a kill would leave: it is halted, or kept from being started.

        Clients wait meanwhile, as they do for a broker that is slow.

        Raises:
            RetailError: it is being started just now, or belongs to another user.
        """
        lock = self._try_lock()
        if lock is not None:
            with lock:
                yield
            return
        record = self._record()
        if record is None:
            raise RetailError("the broker is being started; try again in a moment")
        with _halted(record["pid"]):
            yield

    def status(self) -> BrokerStatus:
        """Whether it runs, where, since when, and how much it holds."""
        record = self._record() if self._locked() else None
        return BrokerStatus(
            running=record is not None,
            pid=record["pid"] if record else None,
            port=record["port"] if record else None,
            since=dt.datetime.fromisoformat(record["since"]) if record else None,
            data_dir=self._data,
            bytes=_disk_usage(self._data),
        )

    # --- The lock and what is written beside it ---------------------------------------------------------------------

    def _try_lock(self) -> IO[bytes] | None:
        """The folder's lock, or ``None`` when a broker (or one who is starting it) has it."""
        try:
            self._dir.mkdir(parents=True, exist_ok=True)
            lock = (self._dir / ".lock").open("ab")
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            return None
        return lock

    def _locked(self) -> bool:
        if not self._dir.is_dir():
            return False
        lock = self._try_lock()
        if lock is None:
            return True
        lock.close()
        return False

    @property
    def _record_file(self) -> Path:
        return self._dir / "broker.json"

    def _record(self) -> dict[str, Any] | None:
        """Process id, port and start of the broker that holds the lock; ``None`` while one is being started."""
        try:
            record: dict[str, Any] = json.loads(self._record_file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return record

    def _write_record(self, pid: int) -> None:
        record = {"pid": pid, "port": self.settings.kafka_embedded_port, "since": dt.datetime.now(dt.UTC).isoformat()}
        draft = self._record_file.with_suffix(".draft")
        draft.write_text(json.dumps(record), encoding="utf-8")
        draft.replace(self._record_file)

    # --- Starting ---------------------------------------------------------------------------------------------------

    def _attach(self) -> bool:
        """Whether the broker that holds the lock answers already."""
        record = self._record()
        if record is None:
            return False
        if record["port"] != self.settings.kafka_embedded_port:
            raise SettingsError(
                f"the broker of {self._dir} runs on port {record['port']}, but KAFKA_EMBEDDED_PORT is "
                f"{self.settings.kafka_embedded_port}; stop it first (`retail kafka stop`), or set the port back"
            )
        return kafka.is_reachable(self.settings, timeout_seconds=2)

    def _launch(self, lock: IO[bytes], deadline: float, say: Progress) -> None:
        self._record_file.unlink(missing_ok=True)  # of a broker that was killed
        jars = class_path("kafka")
        self._require_free_ports()
        try:
            self._require_space()
            self._write_configuration()
            if not (self._data / "meta.properties").exists():
                say("preparing its folder")
                self._format(jars, lock)
            say("starting Kafka")
            self._process = self._java(jars, ["kafka.Kafka", str(self._dir / "server.properties")], lock)
            self._write_record(self._process.pid)
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            self._wait_until_it_answers(self._process, deadline)
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise

    def _require_free_ports(self) -> None:
        for port in (self.settings.kafka_embedded_port, self.settings.kafka_embedded_port + 1):
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError as error:
                    raise self._port_taken(port) from error

    def _require_space(self) -> None:
        free = shutil.disk_usage(self._dir).free
        if free < _LEAST_FREE_BYTES:
            raise OSError(errno.ENOSPC, f"{free // 1024**2} MB free")

    def _write_configuration(self) -> None:
        port = self.settings.kafka_embedded_port
        text = _CONFIGURATION.format(port=port, controller_port=port + 1, data=self._data)
        # The last of two lines of one name holds.
        text += "".join(f"{name}={value}\n" for name, value in self._guard.properties.items())
        configuration = self._dir / "server.properties"
        configuration.touch(mode=0o600)
        configuration.write_text(text, encoding="utf-8")
        (self._dir / "log4j2.properties").write_text(_LOGGING, encoding="utf-8")
        self._log.parent.mkdir(parents=True, exist_ok=True)
        if self._log.exists():
            self._log.replace(self._log.with_suffix(".previous.log"))

    def _format(self, jars: str, lock: IO[bytes]) -> None:
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # In one word: an id may begin with a dash, and would be taken for an option.
        arguments = ["kafka.tools.StorageTool", "format", "--ignore-formatted", f"--cluster-id={cluster_id}"]
        for name, password in self._guard.users.items():
            arguments += ["--add-scram", f"SCRAM-SHA-512=[name={name},password={password.get_secret_value()}]"]
        process = self._java(jars, [*arguments, "-c", str(self._dir / "server.properties")], lock)
        if process.wait() != 0:
            raise self._explain(process.returncode)

    def _java(self, jars: str, arguments: list[str], lock: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start Java in a session of its own; it keeps the lock for as long as it lives."""
        environment = child_environment(self.settings)
        for name in _JVM_VARIABLES:
            environment.pop(name, None)
        logging = f"-Dlog4j2.configurationFile={(self._dir / 'log4j2.properties').as_uri()}"
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [find_java(), *_JVM_OPTIONS, logging, "-cp", jars, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                cwd=self._dir,
                pass_fds=(lock.fileno(),),
                start_new_session=True,
            )

    def _wait_until_it_answers(self, process: subprocess.Popen[bytes], deadline: float) -> None:
        while not kafka.is_reachable(self.settings, timeout_seconds=2):
            if process.poll() is not None:
                raise self._explain(process.returncode)
            self._pause(deadline, f"the broker did not answer within {_START_SECONDS:.0f} s")
        if process.poll() is not None:
            raise self._port_taken(self.settings.kafka_embedded_port)  # somebody answers, but not ours

    def _pause(self, deadline: float, complaint: str) -> None:
        if time.monotonic() > deadline:
            raise RetailError(f"{complaint}; see {self._log}, or run `retail kafka stop` and start again")
        time.sleep(_POLL_SECONDS)

    # --- What went wrong --------------------------------------------------------------------------------------------

    def _explain(self, code: int) -> RetailError:
        """The one line for a Java that ended with ``code``, from what it wrote."""
        said = self._log.read_text(encoding="utf-8", errors="replace")
        if "Address already in use" in said or "failed to bind" in said.lower():
            return self._port_taken(self.settings.kafka_embedded_port)
        if "No space left on device" in said:
            return self._unwritable(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        if "insufficient memory" in said or "Could not reserve enough space" in said:
            return RetailError("there is not enough memory for the broker's 256 MB heap; close something and try again")
        complaints = [line for line in said.splitlines() if "ERROR" in line or "FATAL" in line or "Exception" in line]
        last = complaints[-1][:300] if complaints else f"exit code {code}"
        return RetailError(
            f"the broker cannot use {self._data} ({last}); move that folder away (what was ingested is in the lake), "
            f"or run `retail reset`; its log is {self._log}"
        )

    def _port_taken(self, port: int) -> SettingsError:
        return SettingsError(
            f"port {port} of 127.0.0.1 is taken by another program; set KAFKA_EMBEDDED_PORT to a free port "
            "(the one after it must be free too)"
        )

    def _unwritable(self, error: OSError) -> RetailError:
        if error.errno == errno.ENOSPC:
            return RetailError(
                f"the disk is full: the broker needs {_LEAST_FREE_BYTES // 1024**2} MB where {self._dir} is; "
                "make room, or set RETAIL_HOME elsewhere"
            )
        return RetailError(
            f"cannot write to {error.filename or self._dir} ({error.strerror}); set RETAIL_HOME elsewhere"
        )


@contextlib.contextmanager
def _halted(pid: int) -> Iterator[None]:
    """The process does nothing until the end of the block, or of this process, whichever comes first."""
    # Who waits for our end of the pipe to close wakes it, also when we are killed.
    waker = subprocess.Popen(
        ["/bin/sh", "-c", f"read -r _; kill -CONT {pid}"], stdin=subprocess.PIPE, start_new_session=True
    )
    try:
        _signal(pid, signal.SIGSTOP)
        deadline = time.monotonic() + _HALT_SECONDS
        while not _stands_still(pid):
            if time.monotonic() > deadline:
                raise RetailError(
                    f"the broker (process {pid}) does not halt; stop it (`retail kafka stop`), then try again"
                )
            time.sleep(_HALT_POLL_SECONDS)
        yield
    finally:
        waker.communicate()


def _stands_still(pid: int) -> bool:
    """Whether every thread has halted: only where ``/proc`` tells."""
    states = []
    for task in Path(f"/proc/{pid}/task").glob("*/stat"):
        with contextlib.suppress(OSError):  # a thread that has just ended
            states.append(task.read_text(encoding="utf-8").rpartition(")")[2].split()[0])
    return all(state == "T" for state in states)


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):  # gone by itself in the meantime
        try:
            os.kill(pid, number)
        except PermissionError as error:
            raise RetailError(f"the broker (process {pid}) belongs to another user; only they can stop it") from error


def _disk_usage(folder: Path) -> int:
    """Bytes that the folder's files really take: Kafka's index files are mostly holes."""
    total = 0
    for place, _, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(FileNotFoundError):  # Kafka deletes old segments
                total += (Path(place) / name).stat().st_blocks * 512
    return total
