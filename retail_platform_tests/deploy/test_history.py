"""Where Dagster's history is kept, and which runs a new code server ends."""

from __future__ import annotations

import datetime as dt
import signal
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.tags import GRPC_INFO_TAG

from retail_platform.defs.history import end_orphans, require_postgres, stop_streams_of
from retail_platform.embedded.ports import free_port_pair
from retail_platform.errors import RetailError, SettingsError
from retail_platform.lakehouse.heartbeat import Heartbeat, write_heartbeat
from retail_platform.settings import Settings, load_settings

SECRET = "a p@ss/word"


def test_without_postgres_one_line_says_so_and_shows_no_secret() -> None:
    port = free_port_pair()
    settings = load_settings(
        env_file=None, dagster_postgres_host="127.0.0.1", dagster_postgres_port=port, dagster_postgres_password=SECRET
    )
    with pytest.raises(RetailError) as refused:
        require_postgres(settings)
    line = str(refused.value)
    assert line.startswith(f"Dagster's PostgreSQL at 127.0.0.1:{port} cannot be used (")
    assert "DAGSTER_POSTGRES_" in line
    assert "\n" not in line
    assert SECRET not in line


def test_a_host_without_a_password_is_refused() -> None:
    with pytest.raises(SettingsError, match="DAGSTER_POSTGRES_PASSWORD is missing; DAGSTER_POSTGRES_HOST needs it"):
        load_settings(env_file=None, dagster_postgres_host="db")


def test_runs_of_a_dead_code_server_are_ended_and_no_others() -> None:
    @dg.job
    def work() -> None: ...

    carried = {GRPC_INFO_TAG: '{"host": "code", "port": 4000}'}
    with dg.DagsterInstance.ephemeral() as instance:

        def run(status: dg.DagsterRunStatus, tags: dict[str, str]) -> str:
            return instance.create_run_for_job(work, status=status, tags=tags).run_id

        started = run(dg.DagsterRunStatus.STARTED, carried)
        canceling = run(dg.DagsterRunStatus.CANCELING, carried)
        done = run(dg.DagsterRunStatus.SUCCESS, carried)
        its_own = run(dg.DagsterRunStatus.STARTED, {})  # `retail run`, in a process of its own

        assert set(end_orphans(instance)) == {started, canceling}
        now = {run_id: instance.get_run_by_id(run_id) for run_id in (started, canceling, done, its_own)}
        assert [found.status.value for found in now.values() if found is not None] == [
            "FAILURE",
            "CANCELED",
            "SUCCESS",
            "STARTED",
        ]
        assert end_orphans(instance) == []


@pytest.mark.parametrize(("carried_by", "module", "stopped"), [
    ("orphan", "retail_platform.stream", True),
    ("another", "retail_platform.stream", False),
    ("orphan", "somebody.elses", False),  # the process id was given to another since
])  # fmt: skip
def test_only_a_stream_that_an_ended_run_left_behind_is_told_to_stop(
    settings: Settings, tmp_path: Path, carried_by: str, module: str, stopped: bool
) -> None:
    file = tmp_path / (module.replace(".", "/") + ".py")
    file.parent.mkdir()
    file.with_name("__init__.py").touch()  # or the real package would be found
    file.write_text("print('at work', flush=True)\nimport time\ntime.sleep(60)\n")
    with subprocess.Popen([sys.executable, "-m", module], cwd=tmp_path, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        now = dt.datetime.now(dt.UTC)
        write_heartbeat(settings, Heartbeat("running", "continuous", process.pid, now, now, run_id=carried_by))
        try:
            assert stop_streams_of(settings, ["orphan"]) == (["ingest"] if stopped else [])
            assert process.poll() is None or stopped
        finally:
            process.terminate() if not stopped else None
        assert process.wait(10) == -signal.SIGTERM
