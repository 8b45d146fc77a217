"""The kinds of faults: each a small value that a schedule holds, and that knows how to happen to a stage."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from retail_platform.chaos.services import CarriedStage
from retail_platform.chaos.stage import Stage
from retail_platform.embedded.broker import EmbeddedBroker
from retail_platform.errors import RetailError
from retail_platform.lakehouse.heartbeat import read_heartbeat

_REFUSAL_SECONDS = 90.0
_CHUNKS = (1 << 20, 1 << 12, 1)
_NO_SPACE = os.strerror(errno.ENOSPC)


@dataclass(frozen=True, slots=True)
class KillAtPoint:
    """The driver dies at a named point: its ``nth`` write to a table, or OPTIMIZE of one, since it started."""

    kind: ClassVar[str] = "kill_at_point"
    kills: ClassVar[bool] = True
    point: str
    nth: int
    victim: str
    delay: float

    def happen(self, stage: Stage) -> str:
        """Start a doomed driver and wait for its death."""
        stage.kill_driver()
        arguments = ("--point", self.point, "--nth", str(self.nth), "--victim", self.victim, "--delay", str(self.delay))
        driver = stage.start_driver(*arguments)
        stage.wait(lambda: driver.poll() is not None, f"the driver lives on past {self.point}")
        # A driver whose JVM died under it says so and ends; a Python process that was killed cannot.
        if driver.returncode == -signal.SIGKILL or (self.victim == "jvm" and driver.returncode == 1):
            stage.kills += 1
            return f"died at {self.point}"
        raise RetailError(f"the driver ended with exit code {driver.returncode} before {self.point}")


@dataclass(frozen=True, slots=True)
class KillAtRandom:
    """A working driver dies ``after`` seconds, at a moment that nobody chose."""

    kind: ClassVar[str] = "kill_at_random"
    kills: ClassVar[bool] = True
    after: float
    victim: str

    def happen(self, stage: Stage) -> str:
        """Kill it."""
        stage.working_driver()
        stage.ended.wait(self.after)
        stage.kill_driver(self.victim)
        return f"killed {self.victim}"


@dataclass(frozen=True, slots=True)
class KillWhileStarting:
    """A driver dies ``after`` seconds of life: in its start, or in the batch that it runs again."""

    kind: ClassVar[str] = "kill_while_starting"
    kills: ClassVar[bool] = True
    after: float
    victim: str

    def happen(self, stage: Stage) -> str:
        """Start it and kill it."""
        stage.kill_driver()
        stage.start_driver()
        stage.ended.wait(self.after)
        stage.kill_driver(self.victim)
        return f"killed {self.victim}"


@dataclass(frozen=True, slots=True)
class KillBroker:
    """The broker dies while records are on their way to it, and is back ``down`` seconds later."""

    kind: ClassVar[str] = "kill_broker"
    kills: ClassVar[bool] = False
    down: float

    def happen(self, stage: Stage) -> str:
        """Kill and restart the broker under a working driver."""
        stage.working_driver()
        pid = stage.broker.status().pid
        if pid is None:
            raise RetailError("the broker does not run")
        os.kill(pid, signal.SIGKILL)
        stage.ended.wait(self.down)
        stage.broker.stop()  # nothing is left to stop; it reaps the process
        stage.broker.start()
        return f"killed, back after {self.down:.1f} s"


@dataclass(frozen=True, slots=True)
class Pause:
    """The driver and its JVM stand still for ``seconds``, as in a suspended machine or a very long collection."""

    kind: ClassVar[str] = "pause"
    kills: ClassVar[bool] = False
    seconds: float

    def happen(self, stage: Stage) -> str:
        """SIGSTOP, and later SIGCONT."""
        driver = stage.working_driver()
        pids = [pid for pid in (stage.jvm(), driver) if pid is not None]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        stage.ended.wait(self.seconds)
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        return f"stood still for {self.seconds:.0f} s"


@dataclass(frozen=True, slots=True)
class SecondStart:
    """The job is started a second time beside itself: it must be refused, and the first must not notice."""

    kind: ClassVar[str] = "second_start"
    kills: ClassVar[bool] = False

    def happen(self, stage: Stage) -> str:
        """Start the second, and see it refused."""
        stage.working_driver()
        first = stage.driver
        second = stage.start_driver()
        stage.driver = first
        try:
            stage.wait(lambda: second.poll() is not None, "a second driver is not refused", _REFUSAL_SECONDS)
        finally:
            if second.poll() is None:
                second.kill()
            second.wait()
        code = None if first is None else first.poll()
        if second.returncode != 1 or code is not None:
            raise RetailError(f"the second start ended with {second.returncode}, the first with {code}")
        return "refused"


@dataclass(frozen=True, slots=True)
class DamageCheckpoint:
    """A query's checkpoint is damaged while the driver is dead.

    Either the driver goes on by itself, or it refuses to start; then ``retail stream recover`` makes a new one.
    """

    kind: ClassVar[str] = "damage_checkpoint"
    kills: ClassVar[bool] = True
    query: str
    damage: str

    def happen(self, stage: Stage) -> str:
        """Kill the driver, damage its checkpoint, start it; where it refuses, recover and start it again."""
        stage.working_driver()
        stage.kill_driver()
        checkpoint = stage.settings.checkpoints_dir / self.query.replace("/", "-")
        DAMAGES[self.damage](checkpoint)
        try:
            stage.working_driver()
        except RetailError:
            if stage.driver is None or stage.driver.poll() is None:
                raise  # neither: it hangs
            stage.recover()
            stage.working_driver()
            return "refused, recovered"
        return "went on by itself"


@dataclass(frozen=True, slots=True)
class KillDaily:
    """The daily job dies at a named point, beside a working driver: the sums are looked at after a last, whole one."""

    kind: ClassVar[str] = "kill_daily"
    kills: ClassVar[bool] = False
    point: str

    def happen(self, stage: Stage) -> str:
        """Run the daily job to its death."""
        stage.working_driver()
        code = stage.daily(self.point)
        if code != -signal.SIGKILL:
            raise RetailError(
                f"the daily job ended with exit code {code} before {self.point}; see {stage.settings.logs_dir}/daily.log"
            )
        return f"died at {self.point}"


@dataclass(frozen=True, slots=True)
class FullDisk:
    """The disk of the lake and the checkpoints, a small one of their own, is full until the driver has ended by it twice.

    Each time it must say why in its heartbeat. Once there is room again, the next start goes on by itself. Where the
    broker is on that disk, it may die first; then the driver need not.
    """

    kind: ClassVar[str] = "full_disk"
    kills: ClassVar[bool] = False

    def happen(self, stage: Stage) -> str:
        """Fill the disk, see the driver end, start it again and see that end too; make room, and see the next one work."""
        if not stage.settings.lake_dir.is_symlink():
            raise RetailError("this home is not on a small disk: `retail chaos run --small-disk DIR`")
        said = []
        with _filler(stage.settings.lake_dir.resolve().parent) as fill:
            for start in (stage.working_driver, stage.start_driver):
                start()
                driver = stage.driver
                if driver is None:
                    raise RetailError("the driver did not start")
                stage.wait(partial(fill, driver, stage.broker), "the driver lives on with a full disk")
                if driver.poll() is None:
                    break
                said.append(_why_it_ended(stage, driver))
        if stage.broker.status().pid is None:
            said.append("the broker died")
            stage.broker.stop()  # nothing is left to stop; it reaps the process
            stage.broker.start()
        before = stage.commits
        stage.working_driver()
        stage.wait(lambda: stage.commits > before, "the driver does not go on when there is room again")
        return "; ".join(said)


@dataclass(frozen=True, slots=True)
class KillService:
    """One of Dagster's processes dies, alone or with all it has started, and is up again ``down`` seconds later.

    Afterwards one driver works, and Dagster's history knows the run that carries it.
    """

    kind: ClassVar[str] = "kill_service"
    kills: ClassVar[bool] = False
    service: str
    whole: bool
    down: float

    def happen(self, stage: Stage) -> str:
        """Kill it under a working driver, put it up again, and see a driver work."""
        if not isinstance(stage, CarriedStage):
            raise RetailError("Dagster carries no driver here: `retail chaos run --dagster`")
        before = stage.working_driver()
        stage.kill_service(self.service, whole=self.whole)
        stage.ended.wait(self.down)
        stage.start_service(self.service)
        after = stage.working_driver()
        return f"killed, back after {self.down:.1f} s; {'the same' if after == before else 'another'} driver works"


@dataclass(frozen=True, slots=True)
class KillReactions:
    """A working application of the reactions dies ``after`` seconds, at a moment that nobody chose, and is started again.

    With ``again`` the new one dies after so many seconds of life: in its start, or in what it does again.
    """

    kind: ClassVar[str] = "kill_reactions"
    kills: ClassVar[bool] = False
    application: str
    after: float
    again: float | None = None

    def happen(self, stage: Stage) -> str:
        """Kill it, and see the next one work."""
        if self.application not in {one.name for one in stage.reactions}:
            raise RetailError(f"{self.application} does not run here: `retail chaos run --reactions`")
        stage.working_application(self.application)
        stage.ended.wait(self.after)
        stage.kill_application(self.application)
        if self.again is not None:
            stage.start_application(self.application)
            stage.ended.wait(self.again)
            stage.kill_application(self.application)
        killed = time.monotonic()
        stage.working_application(self.application)
        return (
            f"killed{' twice' if self.again is not None else ''}, works again after {time.monotonic() - killed:.1f} s"
        )


@contextlib.contextmanager
def _filler(disk: Path) -> Iterator[Callable[[subprocess.Popen[bytes], EmbeddedBroker], bool]]:
    """What fills the disk, again whenever it is called, and says whether one of two has died of it."""
    path = disk / "filler"

    def fill(driver: subprocess.Popen[bytes], broker: EmbeddedBroker) -> bool:
        with path.open("ab", buffering=0) as file:
            for size in _CHUNKS:
                with contextlib.suppress(OSError):
                    while file.write(bytes(size)) == size:
                        pass
        return driver.poll() is not None or broker.status().pid is None

    try:
        yield fill
    finally:
        path.unlink(missing_ok=True)


def _why_it_ended(stage: Stage, driver: subprocess.Popen[bytes]) -> str:
    """What the heartbeat of a driver says that ended on a full disk."""
    beat = read_heartbeat(stage.settings)
    error = "" if beat is None or beat.state != "failed" else beat.error or ""
    if driver.returncode != 1 or beat is None or beat.pid != driver.pid or _NO_SPACE not in error or "\n" in error:
        raise RetailError(f"the driver ended with exit code {driver.returncode}, and its heartbeat says {beat}")
    return error


Fault = (
    KillAtPoint
    | KillAtRandom
    | KillWhileStarting
    | KillBroker
    | Pause
    | SecondStart
    | DamageCheckpoint
    | FullDisk
    | KillDaily
    | KillService
    | KillReactions
)
KINDS: dict[str, type[Fault]] = {
    kind.kind: kind
    for kind in (
        KillAtPoint,
        KillAtRandom,
        KillWhileStarting,
        KillBroker,
        Pause,
        SecondStart,
        DamageCheckpoint,
        FullDisk,
        KillDaily,
        KillService,
        KillReactions,
    )
}


def _truncate(log: str) -> Callable[[Path], None]:
    def damage(checkpoint: Path) -> None:
        file = _newest(checkpoint / log)
        os.truncate(file, file.stat().st_size // 2)

    return damage


def _remove(*logs: str) -> Callable[[Path], None]:
    def damage(checkpoint: Path) -> None:
        for log in logs:
            _newest(checkpoint / log).unlink()

    return damage


def _empty(checkpoint: Path) -> None:
    for folder in checkpoint.iterdir():
        if folder.is_dir():
            shutil.rmtree(folder)


def _newest(log: Path) -> Path:
    """The newest entry of a checkpoint's log; Hadoop's checksum of it is gone, or it would hide what Spark makes of it."""
    file = max((path for path in log.iterdir() if path.name.isdigit()), key=lambda path: int(path.name))
    file.with_name(f".{file.name}.crc").unlink(missing_ok=True)
    return file


#: What can be done to a checkpoint: to the newest batch in its logs, or to all but the file that names the query.
DAMAGES: dict[str, Callable[[Path], None]] = {
    "truncate offsets": _truncate("offsets"),
    "truncate commits": _truncate("commits"),
    "remove offsets": _remove("offsets"),
    "remove commits": _remove("commits"),
    "remove offsets and commits": _remove("offsets", "commits"),
    "empty": _empty,
    "remove the folder": shutil.rmtree,
}


def to_json(fault: Fault) -> dict[str, Any]:
    """The fault as a schedule file holds it."""
    return {"kind": fault.kind, **dataclasses.asdict(fault)}


def from_json(data: dict[str, Any]) -> Fault:
    """The fault that a schedule file holds.

    Raises:
        RetailError: there is no such kind, or it takes other values.
    """
    values = dict(data)
    try:
        return KINDS[values.pop("kind")](**values)
    except (KeyError, TypeError) as error:
        raise RetailError(
            f"{data} is not a fault of a schedule ({error}); write one with `retail chaos run`"
        ) from error
