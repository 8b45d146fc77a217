"""Where Dagster's history is kept, and which runs a new code server ends."""

from __future__ import annotations

import dagster as dg
import pytest
from dagster._core.storage.tags import GRPC_INFO_TAG

from retail_platform.defs.history import end_orphans, require_postgres
from retail_platform.embedded.ports import free_port_pair
from retail_platform.errors import RetailError, SettingsError
from retail_platform.settings import load_settings

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
