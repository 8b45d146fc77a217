"""The processes of compose.yaml, by their own commands and health checks, on a real Kafka and a real PostgreSQL."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.processes import Tree, ended
from retail_platform import kafka as kafka_client
from retail_platform.embedded.jars import class_path
from retail_platform.embedded.java import find_java
from retail_platform.embedded.ports import free_port_pair
from retail_platform.lakehouse.heartbeat import read_heartbeat
from retail_platform.settings import PROJECT_ROOT, load_settings
from retail_platform_tests.dagster_api import DagsterApi
from retail_platform_tests.deploy import postgres
from retail_platform_tests.deploy.containers import DOCKER, base_environment, command_of, compose, entrypoint
from retail_platform_tests.listening import listening, open_to_others

pytestmark = [pytest.mark.timeout(600), pytest.mark.soak]

_SECONDS = 180.0
_BIN = Path(sys.executable).parent
_LONG_LIVED = ("reactions", "metrics")


@dataclass
class Stack:
    """The services that run, on ports of their own; every command, health check and variable is compose.yaml's."""

    folder: Path
    database: postgres.Server
    kafka_port: int
    code_port: int
    web_port: int
    stack: contextlib.ExitStack
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str) -> None:
        """Start a service of the image."""
        command = command_of([*entrypoint(), *compose()["services"][name]["command"]], _BIN)
        if name in ("webserver", "daemon"):
            command += ["--workspace", str(self._workspace())]
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [self._here(word) for word in command],
                env=self.environment(),
                cwd=PROJECT_ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.processes[name] = process
        self.stack.enter_context(ended(process))

    def environment(self) -> dict[str, str]:
        """The image's environment and compose.yaml's, which the daemon's service shows whole: no env_file, no secret more."""
        given = {name: str(value) for name, value in compose()["services"]["daemon"]["environment"].items()}
        home = {"RETAIL_HOME": str(self.folder / "state"), "RETAIL_OUTPUTS": str(self.folder / "state" / "outputs")}
        assert set(given) == {"KAFKA_BOOTSTRAP_SERVERS", "DAGSTER_POSTGRES_HOST", "DAGSTER_POSTGRES_PASSWORD"}
        given["KAFKA_BOOTSTRAP_SERVERS"] = given["KAFKA_BOOTSTRAP_SERVERS"].replace(
            "kafka:9092", f"127.0.0.1:{self.kafka_port}"
        )
        return base_environment() | given | home | self.database.environment()

    def healthy(self, name: str) -> bool:
        """Whether the service's own health check says so."""
        test = compose()["services"][name]["healthcheck"]["test"]
        assert test[0] == "CMD"
        env = self.environment() | {"DAGSTER_HOME": str(self.folder / "state" / "dagster")}
        command = [self._here(word) for word in command_of(test[1:], _BIN)]
        return subprocess.run(command, env=env, capture_output=True, check=False).returncode == 0

    def kill(self, name: str) -> None:
        """What Docker does to a container's processes when it kills it: all of them at once."""
        process = self.processes[name]
        for member in Tree(process.pid).look():
            with contextlib.suppress(ProcessLookupError):
                os.kill(member.pid, signal.SIGKILL)
        process.wait()

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(encoding="utf-8")

    def until(self, what: str, holds: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + _SECONDS
        while True:
            dead = [name for name, process in self.processes.items() if process.poll() is not None]
            assert not dead, f"{dead[0]} ended:\n{self.log(dead[0])[-3000:]}"
            try:
                found = holds()
            except (urllib.error.URLError, ConnectionError):
                found = None
            if found:
                return found
            assert time.monotonic() < deadline, f"not within {_SECONDS:.0f} s: {what}"
            time.sleep(0.3)

    def _workspace(self) -> Path:
        workspace = yaml.safe_load((DOCKER / "workspace.yaml").read_text(encoding="utf-8"))
        (location,) = workspace["load_from"]
        assert location["grpc_server"]["host"] in compose()["services"]
        location["grpc_server"] |= {"host": "127.0.0.1", "port": self.code_port}
        path = self.folder / "workspace.yaml"
        path.write_text(yaml.safe_dump(workspace), encoding="utf-8")
        return path

    def _here(self, word: str) -> str:
        moved = word.replace("0.0.0.0", "127.0.0.1")  # noqa: S104
        return re.sub(
            r"\b(3000|4000)\b", lambda port: str({"3000": self.web_port, "4000": self.code_port}[port[0]]), moved
        )


@pytest.fixture(scope="module")
def kafka_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A broker of the version that compose.yaml names, configured by what compose.yaml says, as the image translates it."""
    folder = tmp_path_factory.mktemp("kafka")
    port = free_port_pair()
    service = compose()["services"]["kafka"]
    properties = {
        name.removeprefix("KAFKA_").lower().replace("_", "."): str(value)
        for name, value in service["environment"].items()
        if name.startswith("KAFKA_") and name != "KAFKA_HEAP_OPTS"
    }
    text = "\n".join(f"{name}={value}" for name, value in properties.items())
    text = (
        text.replace(":9092", f":{port}").replace(":9093", f":{port + 1}").replace("CLIENT://:", "CLIENT://127.0.0.1:")
    )
    text = text.replace("CLIENT://kafka:", "CLIENT://127.0.0.1:").replace("/var/lib/kafka/data", str(folder / "data"))
    (folder / "server.properties").write_text(text, encoding="utf-8")
    java = [str(find_java()), *service["environment"]["KAFKA_HEAP_OPTS"].split(), "-cp", class_path("kafka")]
    config = str(folder / "server.properties")
    identity = ["-t", service["environment"]["CLUSTER_ID"], "-c", config]
    subprocess.run([*java, "kafka.tools.StorageTool", "format", *identity], check=True, capture_output=True, cwd=folder)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*java, "kafka.Kafka", config], stdout=log, stderr=log, cwd=folder)
    try:
        yield port
    finally:
        process.terminate()
        process.wait(_SECONDS)


@pytest.fixture(scope="module")
def stack(kafka_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Code server and webserver, healthy; the sensor of the ingest stream is off, which needs a Spark of its own."""
    with postgres.serving() as database, contextlib.ExitStack() as running:
        folder = tmp_path_factory.mktemp("stack")
        found = Stack(folder, database, kafka_port, free_port_pair(), free_port_pair(), running)
        settings = load_settings(env_file=None, kafka_bootstrap_servers=f"127.0.0.1:{kafka_port}", retail_home=folder)
        found.until("Kafka", lambda: kafka_client.is_reachable(settings, timeout_seconds=2))
        found.start("code")
        found.start("webserver")
        api = DagsterApi(found.web_port)
        found.until("the code location", lambda: api.stop_sensor("ingest_supervisor"))
        found.start("daemon")
        yield found
        for name in found.processes:
            found.kill(name)


def test_the_reactions_run_side_by_side_as_children_of_the_code_server(stack: Stack) -> None:
    for stream in _LONG_LIVED:
        stack.until(stream, lambda stream=stream: _runs_now(stack, stream))
    assert [name for name in ("code", "webserver", "daemon") if not stack.healthy(name)] == []


def test_the_history_is_in_postgres_and_nothing_of_it_in_sqlite(stack: Stack) -> None:
    (runs,) = stack.database.query("select count(*) from runs")[0]
    assert int(str(runs)) >= len(_LONG_LIVED)
    assert list((stack.folder / "state" / "dagster").rglob("*.db")) == []
    written = (stack.folder / "state" / "dagster" / "dagster.yaml").read_text(encoding="utf-8")
    assert "run_monitoring" in written
    assert postgres.PASSWORD not in written


def test_the_three_services_listen_on_the_address_that_they_are_given_only(stack: Stack) -> None:
    members = {member.pid for process in stack.processes.values() for member in Tree(process.pid).look()}
    sockets = listening(members)
    assert {stack.code_port, stack.web_port} <= {port for _, port in sockets}
    assert open_to_others(sockets) == []


def test_a_killed_code_server_leaves_no_run_that_only_seems_to_live(stack: Stack) -> None:
    api = DagsterApi(stack.web_port)
    before = {stream: _runs_now(stack, stream) for stream in _LONG_LIVED}
    assert all(before.values())
    stack.kill("code")
    del stack.processes["code"]
    stack.start("code")
    for stream, run_id in before.items():
        stack.until(f"the end of {stream}", lambda s=stream, r=run_id: dict(api.runs(f"{s}_stream"))[r] == "FAILURE")
        assert f"run {run_id} was left behind" in stack.log("code")
    # What starts them again is the supervisors, as after any failure: test_dev.py sees that.
    stack.until("the code location", lambda: api.stop_sensor("metrics_supervisor"))


def _runs_now(stack: Stack, stream: str) -> str | None:
    """The run that carries the stream, if it has begun its work: on a new broker a first try may fail."""
    run_id, status = (DagsterApi(stack.web_port).runs(f"{stream}_stream") or [("", "")])[0]
    settings = load_settings(env_file=None, retail_home=stack.folder / "state")
    beat = read_heartbeat(settings, stream)
    return run_id if status == "STARTED" and beat is not None and beat.state == "running" else None
