"""What a chaos run plays on: a home of its own with its own broker, and the driver's process, started and killed."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from retail_platform.contracts import INGEST_BATCHES
from retail_platform.embedded.broker import EmbeddedBroker
from retail_platform.embedded.ports import free_port_pair
from retail_platform.errors import RetailError
from retail_platform.lakehouse.heartbeat import read_heartbeat
from retail_platform.lakehouse.lease import holder
from retail_platform.reactions.applications import ReactionApplication
from retail_platform.settings import PROJECT_ROOT, Settings, child_environment

_POLL_SECONDS = 0.1
#: What a small disk holds of a home: all that the driver writes; and of the rest, where it is asked for, the broker's.
_OF_THE_DRIVER = ("lake", "checkpoints", "control", "spark")
_OF_THE_BROKER = ("kafka",)
_SMALL_BYTES = 2 * 1024**3
#: From a start to the first batch, on a machine that has much else to do; a driver that takes longer is a finding.
PATIENCE_SECONDS = 600.0


def chaos_settings(settings: Settings, home: Path) -> Settings:
    """Settings of a chaos home: its own lake and broker, whatever the platform's are; the rest as it is.

    Raises:
        RetailError: there are no two free ports in a row.
    """
    broker = {
        "kafka_bootstrap_servers": None,
        "kafka_security_protocol": "PLAINTEXT",
        "kafka_embedded_port": free_port_pair(),
    }
    return at_home(settings, home).model_copy(update=broker)


def at_home(settings: Settings, home: Path) -> Settings:
    """Settings of what a chaos home holds, when nothing of it runs."""
    return settings.model_copy(
        update={
            "retail_home": home,
            "retail_outputs": home / "outputs",
            "business_timezone": "UTC",  # the verifier's days
            "prices": "recommend",  # what it recomputes
            "prices_emergency": False,
        }
    )


def move_to_small_disk(settings: Settings, disk: Path, *, broker: bool) -> None:
    """Have an empty home keep on ``disk`` what the driver writes, and what the ``broker`` does; the rest stays.

    Raises:
        RetailError: ``disk`` is no empty folder, or not on a small disk of its own.
    """
    remedy = f"mount one, `mount -t tmpfs -o size={512 if broker else 256}m none {disk}`, or name another folder"
    if not disk.is_dir() or any(disk.iterdir()):
        raise RetailError(f"--small-disk: {disk} is not an empty folder; {remedy}")
    settings.retail_home.mkdir(parents=True, exist_ok=True)
    own = disk.stat().st_dev != settings.retail_home.stat().st_dev
    if not own or shutil.disk_usage(disk).total > _SMALL_BYTES:
        raise RetailError(
            f"--small-disk: {disk} is not a disk of its own of at most {_SMALL_BYTES >> 30} GiB; {remedy}"
        )
    for name in _OF_THE_DRIVER + _OF_THE_BROKER * broker:
        (disk / name).mkdir()
        (settings.retail_home / name).symlink_to(disk / name)


@dataclass
class Stage:
    """The processes of one run. Use it within :func:`opened`, which leaves none behind."""

    settings: Settings
    broker: EmbeddedBroker
    reactions: tuple[ReactionApplication, ...] = ()
    driver: subprocess.Popen[bytes] | None = None
    applications: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    kills: int = 0
    application_kills: int = 0
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def commits(self) -> int:
        """How many batches have been finished so far, in all lives of the driver."""
        log = self.settings.lake_dir / INGEST_BATCHES.path / "_delta_log"
        return max(sum(1 for _ in log.glob("*.json")) - 1, 0)  # the first of them creates the table

    def start_driver(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start the driver, as it is or (with arguments) doomed; its output goes to the home's ``logs/driver.log``."""
        module = "retail_platform.chaos.doomed" if arguments else "retail_platform.ingest.job"
        self.driver = self.start("driver", [sys.executable, "-m", module, *arguments, "--mode", "continuous"])
        return self.driver

    def start(self, name: str, command: list[str], *, session: bool = False) -> subprocess.Popen[bytes]:
        """Start a process on this home, in a ``session`` of its own or not; its output goes to ``logs/<name>.log``."""
        self.settings.logs_dir.mkdir(parents=True, exist_ok=True)
        with (self.settings.logs_dir / f"{name}.log").open("ab") as log:
            log.write(f"--- {' '.join(command)}\n".encode())
            log.flush()
            return subprocess.Popen(
                command,
                env=self.environment(),
                cwd=PROJECT_ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=session,
            )

    def working_driver(self) -> int:
        """Process id of the driver, started where none runs, once it has finished a batch.

        Raises:
            RetailError: it ended, or took too long.
        """
        if self.driver is not None and self.driver.poll() is None:
            return self.driver.pid
        before = self.commits
        driver = self.start_driver()
        self.wait(lambda: self.commits > before or driver.poll() is not None, "the driver finishes no batch")
        if driver.poll() is not None:
            raise RetailError(
                f"the driver ended with exit code {driver.returncode}; see {self.settings.logs_dir}/driver.log"
            )
        return driver.pid

    def working_application(self, name: str) -> int:
        """Process id of an application of the reactions, started where none runs, once it has taken in records.

        Raises:
            RetailError: it ended, or took too long.
        """
        if name not in self.applications or self.applications[name].poll() is not None:
            self.start_application(name)
        process = self.applications[name]
        self.wait(lambda: self._takes_in(name) == process.pid or process.poll() is not None, f"{name} takes nothing in")
        if process.poll() is not None:
            raise RetailError(
                f"{name} ended with exit code {process.returncode}; see {self.settings.logs_dir}/{name}.log"
            )
        return process.pid

    def start_application(self, name: str) -> None:
        """Start an application of the reactions; its output goes to the home's ``logs/<name>.log``."""
        self.applications[name] = self.start(name, [sys.executable, "-m", "retail_platform.reactions.wiring.job", name])

    def kill_application(self, name: str) -> None:
        """SIGKILL an application of the reactions, if it runs; return when it is gone."""
        process = self.applications.get(name)
        if process is not None and process.poll() is None:
            self.application_kills += 1
            kill(process.pid)
            process.wait()

    def _takes_in(self, name: str) -> int | None:
        """Process id of the application that has taken in records and still says so."""
        beat = read_heartbeat(self.settings, name)
        works = beat is not None and beat.state == "running" and any(query.rows for query in beat.queries)
        return beat.pid if works and beat is not None else None

    def kill_driver(self, victim: str = "both") -> None:
        """SIGKILL the driver's Python process, its JVM, or both; return when both are gone.

        Raises:
            RetailError: the one outlived the other for too long.
        """
        driver = self.driver
        if driver is None or driver.poll() is not None:
            return
        jvm = self.jvm()
        self.kills += 1
        if victim in ("jvm", "both") and jvm is not None:
            kill(jvm)
        if victim in ("python", "both") or jvm is None:
            kill(driver.pid)
        self.wait(lambda: driver.poll() is not None, "the driver outlives its JVM")

    def jvm(self) -> int | None:
        """Process id of the driver's JVM, once it has one."""
        owner = holder(self.settings)
        mine = owner is not None and self.driver is not None and owner.pid == self.driver.pid
        return owner.jvm_pid if mine and owner is not None else None

    def recover(self) -> None:
        """Run ``retail stream recover``, as an operator does.

        Raises:
            RetailError: it failed.
        """
        command = Path(sys.executable).with_name("retail")
        done = subprocess.run(
            [command, "stream", "recover", "--yes"],
            env=self.environment(),
            cwd=PROJECT_ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise RetailError(f"the recovery failed: {done.stderr.strip()[-500:]}")

    def daily(self, point: str | None = None) -> int:
        """Run the daily job over the days of the load, doomed to die at a ``point`` or not; its exit code."""
        today = dt.datetime.now(dt.UTC).date()
        dates = ("--from", str(today - dt.timedelta(days=1)), "--to", str(today))
        whole = (str(Path(sys.executable).with_name("retail")), "run", "--no-drain")
        doomed = (sys.executable, "-m", "retail_platform.chaos.doomed_daily", "--point", str(point))
        with (self.settings.logs_dir / "daily.log").open("ab") as log:
            return subprocess.run(
                [*(whole if point is None else doomed), *dates],
                env=self.environment(),
                cwd=PROJECT_ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                check=False,
            ).returncode

    def end_driver(self) -> None:
        """Stop the driver between two batches, as an operator does."""
        driver = self.driver
        if driver is None or driver.poll() is not None:
            return
        driver.send_signal(signal.SIGTERM)
        self.wait(lambda: driver.poll() is not None, "the driver does not stop")

    def put_up(self) -> None:
        """Start what there is besides the broker and the driver: the reactions."""
        for application in self.reactions:
            self.start_application(application.name)

    def take_down(self) -> None:
        """Leave no process but the broker's."""
        for name in self.applications:
            self.kill_application(name)
        if self.driver is not None and self.driver.poll() is None:
            jvm = self.jvm()
            kill(self.driver.pid)
            self.driver.wait()
            if jvm is not None:
                kill(jvm)

    def wait(self, reached: Callable[[], bool], complaint: str, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until it is so.

        Raises:
            RetailError: with ``complaint``, after ``seconds``.
        """
        deadline = time.monotonic() + seconds
        while not reached():
            if time.monotonic() > deadline:
                raise RetailError(f"{complaint} within {seconds:.0f} s; see {self.settings.logs_dir}")
            self.ended.wait(_POLL_SECONDS)

    def environment(self) -> dict[str, str]:
        """The environment of the home's processes: small batches, often."""
        settings = self.settings
        return child_environment(settings) | {
            "KAFKA_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
            "KAFKA_SECURITY_PROTOCOL": "PLAINTEXT",
            "KAFKA_TOPIC": settings.kafka_topic,
            "BUSINESS_TIMEZONE": settings.business_timezone,
            "PRICES": settings.prices,
            "PRICES_EMERGENCY": str(settings.prices_emergency),
            "INGEST_DEDUPE_HORIZON_MINUTES": "10",
            "INGEST_TRIGGER_SECONDS": "0.5",
            "INGEST_COMPACT_MINUTES": "0.25",
            "INGEST_MAX_OFFSETS_PER_BATCH": "5000",
            "SPARK_DRIVER_MEMORY": "800m",
            # These drivers die young: the second compiler would cost more than it gives back.
            "SPARK_DRIVER_JAVA_OPTIONS": "-XX:TieredStopAtLevel=1",
        }


@contextlib.contextmanager
def opened(stage: Stage) -> Iterator[None]:
    """A running broker, and whatever starts the driver; at the end nothing is left running."""
    stage.broker.start()
    try:
        stage.put_up()
        yield
    finally:
        stage.ended.set()
        stage.take_down()
        stage.broker.stop()


def kill(pid: int) -> None:
    """SIGKILL a process, if there still is one."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
