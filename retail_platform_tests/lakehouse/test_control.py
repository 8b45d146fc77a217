"""Where the stream and its watchers leave each other word: the folder and the bucket behave alike."""

from __future__ import annotations

import datetime as dt
import threading
from pathlib import Path

import pytest
from typer.testing import CliRunner

from retail_platform.cli.app import app
from retail_platform.defs.history import stop_streams_of
from retail_platform.errors import RetailError, SettingsError
from retail_platform.lakehouse import requests
from retail_platform.lakehouse.control import Control, Folder, control
from retail_platform.lakehouse.heartbeat import Heartbeat, read_heartbeat, write_heartbeat
from retail_platform.lakehouse.lease import Holder, ever_held, holder, lake_lease
from retail_platform.settings import Settings, load_settings
from retail_platform_tests.ingest.running import in_a_bucket

KEYS = {"aws_access_key_id": "key-of-a-test", "aws_secret_access_key": "secret-of-a-test"}
ON_EMR = {
    "emr_serverless_application": "00fabc",
    "emr_serverless_role": "arn:aws:iam::111122223333:role/retail-spark",
    "kafka_bootstrap_servers": "b-1.example.com:9096",
}


@pytest.fixture
def here(settings: Settings, s3_endpoint: str) -> Settings:
    """The code server of a platform whose stream runs on EMR Serverless."""
    return in_a_bucket(settings, s3_endpoint, **KEYS).model_copy(update=ON_EMR)


@pytest.fixture
def there(here: Settings, tmp_path: Path) -> Settings:
    """Its driver: the same bucket, a disk of its own."""
    return here.model_copy(update={"retail_home": tmp_path / "there", "spark_master": "submitted"})


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, settings: Settings) -> Control:
    """Each of the two places."""
    found = control(settings if request.param == "folder" else request.getfixturevalue("here"))
    assert isinstance(found, Folder) == (request.param == "folder")
    return found


def test_each_place_keeps_replaces_lists_and_forgets_texts(place: Control) -> None:
    assert place.read("a.json") is None
    assert place.names("requests", ".request.json") == []
    for name in ("requests/2.request.json", "requests/1.request.json", "requests/1.answer.json", "a.json"):
        place.write(name, "first")
    place.write("a.json", "sécond")
    assert place.read("a.json") == "sécond"
    assert place.names("requests", ".request.json") == ["requests/1.request.json", "requests/2.request.json"]
    for _ in range(2):  # the second time there is nothing
        place.remove("requests/1.request.json")
    assert place.names("requests", ".request.json") == ["requests/2.request.json"]


def test_a_heartbeat_crosses_the_bucket_and_those_of_the_reactions_stay_here(here: Settings, there: Settings) -> None:
    now = dt.datetime.now(dt.UTC)
    beat = Heartbeat("running", "continuous", 7, now, now)
    write_heartbeat(there, beat)
    assert read_heartbeat(here) == beat
    assert not here.control_dir.exists()
    write_heartbeat(here, beat, "reactions")
    assert (here.control_dir / "reactions.json").exists()
    assert read_heartbeat(there, "reactions") is None


def test_a_driver_elsewhere_is_seen_asked_for_work_and_to_stop(
    here: Settings, there: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert holder(here) is None
    assert not ever_held(here)
    monkeypatch.setattr("retail_platform.cli.stream.get_settings", lambda: here)
    with lake_lease(there, "ingest (continuous)") as lease:
        owner = holder(here)
        assert owner is not None
        assert (owner.owner, owner.pid, owner.since) == (lease.holder.owner, lease.holder.pid, lease.holder.since)
        assert owner.host is not None, (
            "it must be asked, not sent a signal that would end another process of this machine"
        )
        # One who was asked to stop, and died before it saw that, must not take its successor along.
        requests.ask_to_stop(here, Holder("ingest (continuous)", owner.pid, "2026-01-01T00:00:00+00:00", host="gone"))
        served = _served_by(there, lease.holder)
        done = requests.have_done(here, "optimize", {"tables": ["a"]}, lambda: pytest.fail("the driver is there"))
        assert done == {"asked": {"tables": ["a"]}, "done by": "the running stream"}
        assert served["stopped"] == [False]
    assert ever_held(here)
    assert holder(here) is None
    assert CliRunner().invoke(app, ["stream", "stop"]).stdout == "no stream is running\n"


def test_stream_stop_waits_until_a_driver_elsewhere_has_let_the_lake_go(
    here: Settings, there: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retail_platform.cli.stream.get_settings", lambda: here)
    taken = threading.Event()

    def drive() -> None:
        with lake_lease(there, "ingest (continuous)") as lease:
            taken.set()
            while not any(requests.is_for(asked, lease.holder) for asked in requests.pending(there)):
                pass

    driver = threading.Thread(target=drive)
    driver.start()
    assert taken.wait(10)
    result = CliRunner().invoke(app, ["stream", "stop"])
    driver.join(10)
    assert not driver.is_alive()
    assert result.exit_code == 0
    assert result.stdout.startswith("stopped ingest (continuous) (process ")
    assert " on " in result.stdout


def test_the_next_code_server_asks_a_driver_that_its_predecessor_left_elsewhere_to_stop(
    here: Settings, there: Settings
) -> None:
    with lake_lease(there, "ingest (continuous)") as lease:
        now = dt.datetime.now(dt.UTC)
        write_heartbeat(there, Heartbeat("running", "continuous", lease.holder.pid, now, now, run_id="orphan"))
        assert stop_streams_of(here, ["another"]) == []
        assert list(requests.pending(there)) == []
        assert stop_streams_of(here, ["orphan"]) == ["ingest"]
        (asked,) = requests.pending(there)
        assert asked.work == requests.STOP
        assert requests.is_for(asked, lease.holder)


def test_a_bucket_out_of_reach_is_one_line(here: Settings) -> None:
    elsewhere = here.model_copy(update={"s3_bucket": "there-is-none"})
    with pytest.raises(RetailError, match=r"^s3://there-is-none/retail/control cannot be .*; check S3_BUCKET"):
        write_heartbeat(
            elsewhere, Heartbeat("running", "continuous", 7, dt.datetime.now(dt.UTC), dt.datetime.now(dt.UTC))
        )


def _served_by(there: Settings, me: Holder) -> dict[str, list[bool]]:
    """Serve one request in the background, as the job does, and say what came of those to stop."""
    seen: dict[str, list[bool]] = {"stopped": []}

    def serve() -> None:
        while True:
            for request in requests.pending(there):
                if request.work == requests.STOP:
                    seen["stopped"].append(requests.is_for(request, me))
                    requests.strike_off(there, request)
                    continue
                requests.answer(there, request, {"asked": dict(request.arguments)})
                return

    threading.Thread(target=serve, daemon=True).start()
    return seen


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"emr_serverless_role": None}, "EMR_SERVERLESS_ROLE is missing; EMR_SERVERLESS_APPLICATION needs it"),
        ({"s3_bucket": None}, "S3_BUCKET is missing; EMR_SERVERLESS_APPLICATION needs it"),
        ({"kafka_bootstrap_servers": None}, "KAFKA_BOOTSTRAP_SERVERS is missing; EMR_SERVERLESS_APPLICATION needs it"),
        (
            {"kafka_security_protocol": "SASL_SSL", "kafka_sasl_username": "u", "kafka_sasl_password": "p"},
            "EMR_SERVERLESS_KAFKA_LOGIN is missing; KAFKA_SECURITY_PROTOCOL=SASL_SSL needs it",
        ),
        ({"kafka_ssl_ca_file": "/ca.pem"}, "KAFKA_SSL_CA_FILE is a file of this machine, which "),
        (
            {"spark_master": "spark://one:7077"},
            "EMR_SERVERLESS_APPLICATION and a SPARK_MASTER that names a cluster are both",
        ),
        ({"emr_serverless_application": "APP 1"}, "EMR_SERVERLESS_APPLICATION: "),
        ({"emr_serverless_role": "retail-spark"}, "EMR_SERVERLESS_ROLE: "),
        ({"emr_serverless_cores": "3"}, "EMR_SERVERLESS_CORES: must be 1, 2, 4, 8 or 16"),
    ],
)
def test_settings_with_which_a_job_could_not_run_are_refused(changed: dict[str, str | None], said: str) -> None:
    chosen = ON_EMR | {"s3_bucket": "lake"} | changed
    with pytest.raises(SettingsError) as caught:
        load_settings(env_file=None, **{name: value for name, value in chosen.items() if value is not None})
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
