"""A stage on which Dagster carries the driver: a code server and a daemon, which are killed and put up again."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg

from retail_platform.chaos.stage import Stage, kill
from retail_platform.embedded.ports import free_port_pair
from retail_platform.errors import RetailError
from retail_platform.lakehouse.heartbeat import Heartbeat, read_heartbeat
from retail_platform.lakehouse.lease import Holder, holder
from retail_platform.reactions.applications import APPLICATIONS

CODE, DAEMON = "code", "daemon"


@dataclass
class CarriedStage(Stage):
    """Here the supervisor sensor starts the driver, and starts it again; the stage only waits for that."""

    services: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    port: int = field(default_factory=free_port_pair)

    def put_up(self) -> None:
        """Start the code server, turn off the streams that are not looked at, and start the daemon.

        Raises:
            RetailError: the code server does not answer, or would keep its history where others' is.
        """
        if self.settings.dagster_postgres_host is not None:
            raise RetailError(
                "DAGSTER_POSTGRES_HOST is set; unset it: the runs of a chaos home belong into no other history"
            )
        self._workspace.write_text(
            json.dumps({"load_from": [{"grpc_server": {"host": "127.0.0.1", "port": self.port}}]}), encoding="utf-8"
        )
        self.start_service(CODE)
        for application in APPLICATIONS:
            self._dagster("sensor", "stop", f"{application.name}_supervisor", "--workspace", str(self._workspace))
        self.start_service(DAEMON)

    def start_service(self, name: str) -> None:
        """Start one of Dagster's processes, as a container does; return when it can be used.

        Raises:
            RetailError: it cannot, for too long.
        """
        arguments = {CODE: ("--port", str(self.port)), DAEMON: ("--workspace", str(self._workspace))}[name]
        command = [str(Path(sys.executable).with_name("retail")), "serve", name, *arguments]
        self.services[name] = self.start(name, command, session=True)
        if name == CODE:
            self.wait(self._code_answers, "the code server does not answer")

    def kill_service(self, name: str, *, whole: bool) -> None:
        """SIGKILL one of Dagster's processes: alone, or with all it has started, as the end of its container does."""
        process = self.services.pop(name)
        if name == CODE and whole and holder(self.settings) is not None:
            self.kills += 1
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if whole else os.kill)(process.pid, signal.SIGKILL)
        process.wait()

    def working_driver(self) -> int:
        """Process id of a driver that a run carries which Dagster knows to be running, once it has finished a batch."""
        before = self.commits
        self.wait(
            lambda: self.commits > before and self._carried() is not None, "no run of the stream finishes a batch"
        )
        beat = self._carried()
        return beat.pid if beat is not None else self.working_driver()

    def kill_driver(self, victim: str = "both") -> None:
        """SIGKILL the driver's Python process, its JVM, or both."""
        owner = holder(self.settings)
        if owner is None:
            return
        self.kills += 1
        if victim in ("jvm", "both") and owner.jvm_pid is not None:
            kill(owner.jvm_pid)
        if victim in ("python", "both"):
            kill(owner.pid)
        self.wait(lambda: not _same(holder(self.settings), owner), "the driver outlives its JVM")

    def end_driver(self) -> None:
        """Stop the driver as an operator does, with nobody there to start another."""
        self.kill_service(DAEMON, whole=True)
        owner = holder(self.settings)
        if owner is not None:
            os.kill(owner.pid, signal.SIGTERM)
            self.wait(lambda: not _same(holder(self.settings), owner), "the driver does not stop")

    def take_down(self) -> None:
        """Leave no process."""
        for name in list(self.services):
            self.kill_service(name, whole=True)
        self.kill_driver()  # of a code server that was killed alone

    def _carried(self) -> Heartbeat | None:
        """The stream's heartbeat, where Dagster's history says of its run that it works."""
        beat = read_heartbeat(self.settings)
        if beat is None or beat.state != "running" or beat.run_id is None or beat.stale:
            return None
        with dg.DagsterInstance.from_config(str(self.settings.dagster_home)) as instance:
            run = instance.get_run_by_id(beat.run_id)
        return beat if run is not None and run.status is dg.DagsterRunStatus.STARTED else None

    def _code_answers(self) -> bool:
        if self.services[CODE].poll() is not None:
            raise RetailError(f"the code server ended; see {self.settings.logs_dir}/{CODE}.log")
        asked = self._dagster("api", "grpc-health-check", "--host", "127.0.0.1", "--port", str(self.port))
        return asked.returncode == 0

    def _dagster(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-m", "dagster", *arguments],
            env=self.environment(),
            cwd=self.settings.retail_home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )

    @property
    def _workspace(self) -> Path:
        return self.settings.retail_home / "workspace.yaml"


def _same(now: Holder | None, before: Holder) -> bool:
    return now is not None and now.pid == before.pid
