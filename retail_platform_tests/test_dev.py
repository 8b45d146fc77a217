"""`retail dev` as a new user tries it: sensors on, partitions turn green, runs and backfills by the UI's own API."""

from __future__ import annotations

import csv
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from benchmarks.processes import Tree
from retail_platform.cli import operate
from retail_platform.embedded.ports import free_port_pair
from retail_platform.errors import RetailError
from retail_platform.lakehouse import quality
from retail_platform.lakehouse.lease import holder
from retail_platform.producer import online_retail
from retail_platform.settings import PROJECT_ROOT, Settings, load_settings
from retail_platform_tests.dagster_api import REPOSITORY, DagsterApi
from retail_platform_tests.environment import driver_environment
from retail_platform_tests.ingest.running import deliver, message, sale
from retail_platform_tests.listening import listening, open_to_others

pytestmark = pytest.mark.timeout(900)

_SECONDS = 240.0


class Platform(DagsterApi):
    """A running `retail dev`, asked through the GraphQL API of its UI."""

    def __init__(self, settings: Settings, port: int) -> None:
        super().__init__(port)
        self.settings = settings
        command = [str(Path(sys.executable).with_name("retail")), "dev", "--port", str(port)]
        env = driver_environment(settings, ingest_nice=settings.ingest_nice)
        self.log = settings.retail_home.with_name("dev.log")
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command, env=env, cwd=PROJECT_ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def until(self, what: str, holds: Callable[[], Any]) -> Any:
        """Wait until ``holds`` answers with something true."""
        deadline = time.monotonic() + _SECONDS
        while True:
            assert self.process.poll() is None, self.log.read_text()
            try:
                found = holds()
            except (urllib.error.URLError, ConnectionError):
                found = None  # the UI is not up yet
            if found:
                return found
            assert time.monotonic() < deadline, f"not within {_SECONDS:.0f} s: {what}"
            time.sleep(0.5)

    def green(self, *path: str) -> int:
        """How many partitions of an asset are materialized."""
        data = self.ask(
            "query($key: AssetKeyInput!) {assetNodeOrError(assetKey: $key) "
            "{... on AssetNode {partitionStats {numMaterialized}}}}",
            key={"path": list(path)},
        )
        return int(data["assetNodeOrError"]["partitionStats"]["numMaterialized"])

    def succeeded(self, run_id: str) -> bool:
        """Whether a run has succeeded; a failed one fails the test."""
        data = self.ask("query($id: ID!) {runOrError(runId: $id) {... on Run {status}}}", id=run_id)
        status = data["runOrError"]["status"]
        assert status not in ("FAILURE", "CANCELED"), f"run {run_id} ended as {status}"
        return bool(status == "SUCCESS")


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """`retail dev` on a home of its own."""
    home = tmp_path_factory.mktemp("dev")
    settings = load_settings(
        env_file=None, retail_home=home / "home", retail_outputs=home / "outputs", kafka_embedded_port=free_port_pair()
    )
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    running = Platform(settings, port)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.send_signal(signal.SIGINT)
            running.process.wait(_SECONDS)


def test_the_supervisor_starts_the_stream_and_the_partitions_turn_green(platform: Platform) -> None:
    platform.until("the code location", lambda: platform.stop_sensor("late_arrivals"))
    ((_, _),) = platform.until(
        "the sensor's run", lambda: [run for run in platform.runs("ingest_stream") if run[1] == "STARTED"]
    )
    deliver(platform.settings, online_retail.messages(online_retail.read(online_retail.sample_file())))
    platform.until("20 green silver days", lambda: platform.green("silver", "transaction_lines") == 20)
    assert platform.green("silver", "sales_by_minute") == 20


def test_every_server_of_it_answers_this_machine_only(platform: Platform) -> None:
    owner = holder(platform.settings)
    assert owner is not None
    assert owner.jvm_pid is not None
    members = {member.pid for member in Tree(platform.process.pid).look()} | {owner.pid, owner.jvm_pid}
    sockets = listening(members)
    assert {platform.port, platform.settings.kafka_embedded_port} <= {port for _, port in sockets}
    assert open_to_others(sockets) == []


def test_its_alerts_link_to_the_port_that_its_ui_has(platform: Platform) -> None:
    page = f"DAGSTER_UI_URL=http://127.0.0.1:{platform.port}\0".encode()
    told = [page in Path(f"/proc/{member.pid}/environ").read_bytes() for member in Tree(platform.process.pid).look()]
    assert sum(told) >= len(("webserver", "daemon", "code server"))


def test_a_partition_launched_from_the_ui_gives_its_row_of_the_csv(platform: Platform) -> None:
    answer = platform.ask(
        "mutation($p: ExecutionParams!) {launchRun(executionParams: $p) "
        "{__typename ... on LaunchRunSuccess {run {runId}} ... on PythonError {message}}}",
        p={
            "selector": {**REPOSITORY, "jobName": "daily_kpis"},
            "runConfigData": "{}",
            "executionMetadata": {"tags": [{"key": "dagster/partition", "value": "2010-12-01"}]},
        },
    )["launchRun"]
    assert answer["__typename"] == "LaunchRunSuccess", answer
    platform.until("the day's run", lambda: platform.succeeded(answer["run"]["runId"]))
    assert _figures(platform.settings) == _expected("2010-12-01")


def test_a_backfill_launched_from_the_ui_is_one_run_and_adds_its_days(platform: Platform) -> None:
    graph = platform.ask("{assetNodes {groupName assetKey {path} isPartitioned}}")["assetNodes"]
    layers = ("raw", "staging", "intermediate", "marts", "kpi")
    chosen = [
        {"path": node["assetKey"]["path"]} for node in graph if node["groupName"] in layers and node["isPartitioned"]
    ]
    answer = platform.ask(
        "mutation($p: LaunchBackfillParams!) {launchPartitionBackfill(backfillParams: $p) "
        "{__typename ... on LaunchBackfillSuccess {backfillId} ... on PythonError {message}}}",
        p={"assetSelection": chosen, "partitionNames": ["2010-12-02", "2010-12-03"]},
    )["launchPartitionBackfill"]
    assert answer["__typename"] == "LaunchBackfillSuccess", answer

    def status() -> bool:
        query = "query($id: String!) {partitionBackfillOrError(backfillId: $id) {... on PartitionBackfill {status}}}"
        found = platform.ask(query, id=answer["backfillId"])["partitionBackfillOrError"]["status"]
        assert found not in ("FAILED", "COMPLETED_FAILED", "CANCELED"), found
        return bool(found == "COMPLETED_SUCCESS")

    platform.until("the backfill", status)
    assert _figures(platform.settings) == _expected("2010-12-01", "2010-12-02", "2010-12-03")
    query = "query($t: [ExecutionTag!]) {runsOrError(filter: {tags: $t}) {... on Runs {results {runId}}}}"
    runs = platform.ask(query, t=[{"key": "dagster/backfill", "value": answer["backfillId"]}])
    assert len(runs["runsOrError"]["results"]) == 1


def test_a_killed_driver_is_started_again_by_the_sensor_and_nothing_is_lost(platform: Platform) -> None:
    before = holder(platform.settings)
    assert before is not None
    deliver(platform.settings, [message(sale()) for _ in range(200)])
    os.kill(before.pid, signal.SIGKILL)
    deliver(platform.settings, [message(sale()) for _ in range(200)])

    def again() -> bool:
        now = holder(platform.settings)
        return now is not None and now.pid not in (0, before.pid)

    platform.until("a new driver", again)

    def complete() -> bool:
        found, *_ = quality.balance(platform.settings)
        return found.silver == 1955 + 400 and found.difference == 0

    platform.until("all events in silver, once", complete)


def test_ctrl_c_ends_all_of_it_and_well(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = holder(platform.settings)
    said = len(platform.log.read_text())
    platform.process.send_signal(signal.SIGINT)
    assert platform.process.wait(_SECONDS) == 0
    assert holder(platform.settings) is None
    left = [line for line in _processes() if str(platform.settings.retail_home) in line]
    assert left == []
    assert owner is not None
    with pytest.raises(ProcessLookupError):
        os.kill(owner.pid, 0)
    assert "Traceback" not in platform.log.read_text()[said:]
    monkeypatch.setenv("DAGSTER_HOME", str(platform.settings.dagster_home))
    with dg.DagsterInstance.get() as instance:
        streams = [
            record.dagster_run for record in instance.get_run_records() if "_stream" in record.dagster_run.job_name
        ]
    last = {run.job_name: run.status for run in reversed(streams)}
    assert last == dict.fromkeys(last, dg.DagsterRunStatus.SUCCESS)
    assert "ingest_stream" in last


def test_streams_that_cannot_be_told_to_stop_keep_nothing_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def out_of_reach(*_: object) -> list[str]:
        asked.append(1)
        raise RetailError("the bucket cannot be reached")

    monkeypatch.setattr("retail_platform.defs.history.stop_streams", out_of_reach)
    slow = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGINT, lambda *_: (time.sleep(1), sys.exit()))\n"
        "print('up', flush=True)\ntime.sleep(60)\n"
    )
    command = [sys.executable, "-c", slow]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        operate._end_session(load_settings(env_file=None, retail_home=tmp_path), process)
        assert process.poll() == 0
    assert asked == [1]
    assert capsys.readouterr().err == "the streams cannot be told to stop: the bucket cannot be reached\n"


def _figures(settings: Settings) -> list[dict[str, str]]:
    with settings.kpi_csv.open() as file:
        return [{k: v for k, v in row.items() if k != "streaming_latency_ms"} for row in csv.DictReader(file)]


def _expected(*dates: str) -> list[dict[str, str]]:
    with online_retail.sample_expected_daily().open() as file:
        return [row for row in csv.DictReader(file) if row["date"] in dates]


def _processes() -> Iterator[str]:
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
