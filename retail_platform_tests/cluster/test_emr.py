"""The stream on a stand-in for EMR Serverless: launched by Dagster, run from the package in the bucket and nothing else."""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from typer.testing import CliRunner

from retail_platform.cli.app import app
from retail_platform.cluster.package import _release_key, bring
from retail_platform.contracts import BRONZE_EVENTS, QUARANTINE_EVENTS, TRANSACTIONS
from retail_platform.defs.execution import run_job
from retail_platform.defs.stream import JOB
from retail_platform.lakehouse import quality
from retail_platform.lakehouse.heartbeat import read_heartbeat
from retail_platform.lakehouse.lease import holder
from retail_platform.lakehouse.location import aws_client
from retail_platform.lakehouse.requests import have_done
from retail_platform.settings import Settings
from retail_platform_tests.cluster.emr_server import EmrServer
from retail_platform_tests.environment import environment
from retail_platform_tests.ingest.running import deliver, in_a_bucket, message, rows, sale
from retail_platform_tests.waiting import until

KEYS = {"aws_access_key_id": "key-of-a-test", "aws_secret_access_key": "secret-of-a-test"}
LINES = TRANSACTIONS.silver_table
_SECONDS = 240.0


@pytest.fixture
def here(lake_settings: Settings, s3_endpoint: str) -> Settings:
    """A code server whose stream runs on EMR Serverless."""
    chosen = {
        "kafka_bootstrap_servers": lake_settings.bootstrap_servers,
        "emr_serverless_application": "00fabc",
        "emr_serverless_role": "arn:aws:iam::111122223333:role/retail-spark",
        "emr_serverless_memory": "900m",
        "emr_serverless_cores": 1,
        "ingest_trigger_seconds": 1,
    }
    found = in_a_bucket(lake_settings, s3_endpoint, **KEYS).model_dump() | chosen
    return Settings(_env_file=None, **found)


@pytest.fixture
def emr(here: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmrServer]:
    """The service, with this version's package in the bucket, and this machine's own Python in it."""
    role = {"AWS_ACCESS_KEY_ID": KEYS["aws_access_key_id"], "AWS_SECRET_ACCESS_KEY": KEYS["aws_secret_access_key"]}
    server = EmrServer(here, tmp_path / "emr", role)
    bring(here, "x86_64" if os.uname().machine == "x86_64" else "arm64", Path(sys.base_prefix), print)
    server.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL_EMR_SERVERLESS", server.endpoint)
    try:
        yield server
    finally:
        server.stop()


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_the_stream_runs_elsewhere_is_heard_asked_and_stopped(
    here: Settings, emr: EmrServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    twin = sale()
    deliver(here, [message(twin), message(twin), message(b"junk"), *(message(sale()) for _ in range(200))])
    outcome = run_job(here, JOB)
    (drain,) = emr.runs.values()
    assert outcome.success, (outcome.failures, drain.log[-3000:])
    _is_whole(here, events=201)
    said = _said(here, outcome.run_id)
    assert [line for line in said if "silver/transaction_lines: 203 rows" in line], (
        "the job's lines came through the bucket"
    )
    beat = read_heartbeat(here)
    assert beat is not None
    assert (beat.state, beat.mode) == ("stopped", "available_now")
    assert not here.control_dir.joinpath("ingest.json").exists()
    assert not (here.retail_home / "spark").exists(), "no Spark ran here"
    assert KEYS["aws_secret_access_key"] not in json.dumps(drain.request)
    left = aws_client(here, "s3").list_objects_v2(Bucket=here.s3_bucket, Prefix="retail/control/")
    assert {entry["Key"] for entry in left["Contents"]} == {"retail/control/ingest.json", "retail/control/lake.lease"}

    # One that stays, and whose machine is lost in the middle of its work: the run fails, and says so.
    lost = _continuous(here, emr)
    deliver(here, [message(twin), *(message(sale()) for _ in range(20))])
    (driver,) = list(emr.runs.values())[1:]
    assert driver.process is not None
    os.killpg(driver.process.pid, signal.SIGKILL)
    assert lost.wait(60) == 1

    # The next one waits until that one's lease has run out, and goes on; it works on request, and stops when it is told to.
    stays = _continuous(here, emr)
    until(stays, "the new events are in", lambda: quality.balance(here)[0].silver == 221, _SECONDS)
    done = have_done(here, "optimize", {"tables": [LINES.path]}, lambda: pytest.fail("a stream was there to ask"))
    assert done["done by"] == "the running stream"
    monkeypatch.setattr("retail_platform.cli.stream.get_settings", lambda: here)
    told = CliRunner().invoke(app, ["stream", "stop"])
    assert told.stdout.startswith("stopped ingest (continuous) (process "), told.output
    assert stays.wait(60) == 0

    # And one whose run in Dagster is cancelled.
    cancelled = _continuous(here, emr)
    cancelled.send_signal(signal.SIGINT)
    cancelled.wait(150)
    run = list(emr.runs.values())[-1]
    assert (run.state, run.cancelled) == ("SUCCESS", False), "it stopped between batches; nobody had to end it"
    beat = read_heartbeat(here)
    assert beat is not None
    assert beat.state == "stopped"
    assert holder(here) is None
    _is_whole(here, events=221)


def test_a_code_server_whose_version_was_not_brought_there_says_so_and_starts_nothing(here: Settings) -> None:
    outcome = run_job(here, JOB)
    assert not outcome.success
    (said,) = outcome.failures
    assert said.startswith("ingest: the ingest stream failed: this version's package is not in s3://")
    assert "`retail cluster package`" in said


@pytest.mark.soak
def test_what_the_service_refuses_and_a_success_without_a_stream_are_failures(
    here: Settings, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = {name: f"s3://{here.s3_bucket}/{name}" for name in ("environment", "platform", "entry")}
    body = json.dumps({**parts, "jars": []}).encode()
    aws_client(here, "s3").put_object(Bucket=here.s3_bucket, Key=_release_key(here), Body=body)
    monkeypatch.setenv("AWS_ENDPOINT_URL_EMR_SERVERLESS", s3_endpoint)
    (said,) = run_job(here, JOB).failures
    assert "AccessDeniedException" in said, "the role is of another account than moto's"
    assert said.endswith(
        "check EMR_SERVERLESS_APPLICATION, EMR_SERVERLESS_ROLE, AWS_REGION and the credentials' rights"
    )
    # moto's service says SUCCESS at once, and runs nothing.
    moto = aws_client(here, "emr-serverless")
    made = moto.create_application(name="retail", releaseLabel="emr-7.9.0", type="SPARK", clientToken="one")
    role = "arn:aws:iam::123456789012:role/retail-spark"
    mine = {"emr_serverless_application": made["applicationId"], "emr_serverless_role": role}
    there = here.model_copy(update=mine)
    (said,) = run_job(there, JOB).failures
    assert "succeeded, but the stream was not heard to end" in said
    (asked,) = moto.list_job_runs(applicationId=made["applicationId"])["jobRuns"]
    run = moto.get_job_run(applicationId=made["applicationId"], jobRunId=asked["id"])["jobRun"]
    submit = run["jobDriver"]["sparkSubmit"]
    assert submit["entryPoint"] == parts["entry"]
    assert "spark.emr-serverless.driverEnv.DAGSTER_PIPES_MESSAGES=" in submit["sparkSubmitParameters"]
    assert KEYS["aws_secret_access_key"] not in json.dumps(run, default=str)


def _is_whole(settings: Settings, events: int) -> None:
    found, *_ = quality.balance(settings)
    assert (found.silver, found.quarantine, found.difference) == (events, 1, 0)
    assert quality.duplicate_keys(settings, LINES, None) == []
    assert rows(settings, BRONZE_EVENTS, 'select count(*) = count(distinct ("partition", "offset")) from t') == [
        (True,)
    ]
    assert rows(settings, QUARANTINE_EVENTS, "select reasons from t") == [(["malformed_json"],)]


def _continuous(settings: Settings, emr: EmrServer) -> subprocess.Popen[bytes]:
    """A run of the job that stays, in a process of its own, once its driver has the lake and runs."""
    began = dt.datetime.now(dt.UTC)
    config = {"ops": {"ingest": {"config": {"mode": "continuous"}}}}
    code = (
        "import sys; from retail_platform.settings import get_settings; from retail_platform.defs.execution import run_job; "
        f"outcome = run_job(get_settings(), {JOB!r}, {config!r}); print(outcome.failures); sys.exit(not outcome.success)"
    )
    given = environment(settings) | {"AWS_ENDPOINT_URL_EMR_SERVERLESS": emr.endpoint}
    started = subprocess.Popen([sys.executable, "-c", code], env=given, stdin=subprocess.DEVNULL)
    emr.callers.append(started)

    def runs() -> bool:
        beat = read_heartbeat(settings)
        return beat is not None and beat.started_at > began and beat.state == "running"

    until(started, "the driver runs", runs, _SECONDS)
    return started


def _said(settings: Settings, run_id: str) -> list[str]:
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        return [entry.user_message for entry in instance.all_logs(run_id)]
