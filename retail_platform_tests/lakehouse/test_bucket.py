"""A lake in a bucket without Spark: who may write it, by which credentials it is reached, and what is refused."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from retail_platform.cli.app import app
from retail_platform.contracts import TRANSACTIONS
from retail_platform.errors import RetailError, SettingsError
from retail_platform.lakehouse import bucket_lease, location
from retail_platform.lakehouse.bucket_lease import BucketInUse
from retail_platform.lakehouse.lease import lake_lease
from retail_platform.lakehouse.requests import have_done
from retail_platform.settings import Settings, load_settings
from retail_platform_tests.ingest.running import in_a_bucket

KEYS = {"aws_access_key_id": "key-of-a-test", "aws_secret_access_key": "secret-of-a-test"}


@pytest.fixture
def here(settings: Settings, s3_endpoint: str) -> Settings:
    """Settings of a lake in an empty bucket."""
    return in_a_bucket(settings, s3_endpoint, **KEYS)


@pytest.fixture
def there(here: Settings, tmp_path: Path) -> Settings:
    """The same lake, as another installation sees it."""
    return here.model_copy(update={"retail_home": tmp_path / "there"})


def test_two_installations_never_have_the_lake_at_once(here: Settings, there: Settings) -> None:
    with lake_lease(here, "ingest (continuous)"):
        with (
            pytest.raises(
                BucketInUse, match=rf"ingest \(continuous\) \(process {os.getpid()} on .*, since .*runs out in \d+ s"
            ),
            lake_lease(there, "optimize"),
        ):
            pass
        with pytest.raises(BucketInUse):  # and whoever wanted work done is told so, and does not wait for ever
            have_done(there, "optimize", {}, lambda: _under_the_lease(there))
    with lake_lease(there, "optimize"):
        pass


def _under_the_lease(settings: Settings) -> dict[str, Any]:
    with lake_lease(settings, "work"):
        return {}


def test_the_lease_of_one_that_died_is_taken_at_once_here_and_after_it_ran_out_elsewhere(
    here: Settings, there: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket_lease._BucketLease, "release", lambda _: None)  # as a kill leaves it
    for _ in range(2):
        with lake_lease(here, "ingest"):
            pass
    with pytest.raises(BucketInUse), lake_lease(there, "ingest"):
        pass
    monkeypatch.setattr(bucket_lease, "EXPIRY_SECONDS", 1.0)
    with lake_lease(there, "ingest", wait_seconds=10):
        pass


def test_a_holder_whose_lease_was_taken_ends_what_it_writes_with(
    here: Settings, there: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket_lease, "_RENEW_SECONDS", 0.5)

    def steal(ended: threading.Event) -> None:
        monkeypatch.setattr(bucket_lease, "EXPIRY_SECONDS", -1.0)
        with bucket_lease.bucket_lease(_homed(there), "thief", "now", lambda: True):
            assert ended.wait(10)

    with pytest.raises(RetailError, match="is lost: another process has taken it"):
        _hold_while(here, steal)


def test_a_holder_that_cannot_renew_ends_before_its_lease_does(here: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket_lease, "_RENEW_SECONDS", 0.2)
    monkeypatch.setattr(bucket_lease, "_FENCE_SECONDS", 1.0)

    def remove_the_bucket(ended: threading.Event) -> None:
        client = location.s3_client(here)
        client.delete_object(Bucket=here.s3_bucket, Key=f"{here.s3_prefix}/control/lake.lease")
        client.delete_bucket(Bucket=here.s3_bucket)
        assert ended.wait(10)

    with pytest.raises(RetailError, match=f"is lost: S3_BUCKET {here.s3_bucket} does not let"):
        _hold_while(here, remove_the_bucket)


def _hold_while(settings: Settings, happens: Callable[[threading.Event], None]) -> None:
    """Hold the lease as a driver does whose JVM is killed when the lease is lost."""
    ended = threading.Event()
    with bucket_lease.bucket_lease(_homed(settings), "ingest", "now", lambda: ended.set() is None):
        happens(ended)
        raise ConnectionError("what a call into a killed JVM raises")


def test_a_store_that_ignores_conditions_is_refused(here: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def unconditional(settings: Settings) -> Any:
        client = location.s3_client(settings)
        put = client.put_object

        def put_object(**arguments: Any) -> Any:
            return put(**{name: value for name, value in arguments.items() if not name.startswith("If")})

        client.put_object = put_object
        return client

    monkeypatch.setattr(bucket_lease, "s3_client", unconditional)
    with pytest.raises(RetailError, match="takes no notice of conditions"), lake_lease(here, "ingest"):
        pass


def _homed(settings: Settings) -> Settings:
    settings.control_dir.mkdir(parents=True, exist_ok=True)
    return settings


def test_a_bucket_that_is_not_there_is_said_in_one_line(here: Settings) -> None:
    gone = here.model_copy(update={"s3_bucket": "no-such-bucket"})
    with pytest.raises(RetailError, match=r"S3_BUCKET no-such-bucket .*NoSuchBucket.*check S3_BUCKET") as told:
        _under_the_lease(gone)
    assert "\n" not in str(told.value)


def test_a_role_gives_the_credentials_to_all(
    settings: Settings, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container's role, by the address that the container service gives; the store takes any key."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(settings.retail_home / "none"))
    with _role() as address:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", address)
        role = in_a_bucket(settings, s3_endpoint)
        assert location._credentials(role) == ("key-of-a-role", "secret-of-a-role", "token-of-a-role")
        assert not location.has_delta(role, TRANSACTIONS.silver_table)
        assert not location.lake(role).exists()
        assert "secret-of-a-role" not in str(location.spark_options(role)) + str(location.jvm_environment(role))


@contextmanager
def _role() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = {
                "AccessKeyId": "key-of-a-role",
                "SecretAccessKey": "secret-of-a-role",
                "Token": "token-of-a-role",
                "Expiration": "2099-01-01T00:00:00Z",
            }
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/role"
    finally:
        server.shutdown()


def test_without_credentials_one_line_says_which_there_could_be(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(settings.retail_home / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(settings.retail_home / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    bare = settings.model_copy(update={"s3_bucket": "lake"})
    with pytest.raises(RetailError, match="no credentials for S3_BUCKET: set AWS_ACCESS_KEY_ID and"):
        location.has_delta(bare, TRANSACTIONS.silver_table)
    unknown = bare.model_copy(update={"aws_profile": "nobody"})
    with pytest.raises(RetailError, match=r"AWS_PROFILE: .*nobody"):
        location.has_delta(unknown, TRANSACTIONS.silver_table)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"aws_access_key_id": "k"}, "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY go together"),
        ({"aws_session_token": "t"}, "AWS_SESSION_TOKEN belongs to an AWS_ACCESS_KEY_ID"),
        ({**KEYS, "aws_profile": "p"}, "AWS_PROFILE and AWS_ACCESS_KEY_ID are both set"),
        ({"s3_bucket": "s3://lake"}, "S3_BUCKET"),
        ({"s3_prefix": "/retail/"}, "S3_PREFIX"),
        ({"s3_endpoint_url": "minio:9000"}, "S3_ENDPOINT_URL: must begin with https://"),
    ],
)
def test_settings_that_do_not_fit_are_named(wrong: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        load_settings(env_file=None, **({"s3_bucket": "lake"} | wrong))


@pytest.mark.parametrize(
    "command",
    [
        ["backup", "there"],
        ["restore", "there"],
        ["reset"],
        ["stream", "recover"],
        ["stream", "accept-loss"],
        ["chaos", "run"],
        ["chaos", "controls"],
    ],
)
def test_what_a_bucket_does_not_have_yet_is_refused_before_anything_is_done(
    command: list[str], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = settings.model_copy(update={"s3_bucket": "lake"})
    for module in ("backup", "operate", "stream", "chaos"):
        monkeypatch.setattr(f"retail_platform.cli.{module}.get_settings", lambda: there)
    done = CliRunner().invoke(app, command)
    assert isinstance(done.exception, RetailError)
    assert "works with a lake on this machine's disk only, and S3_BUCKET is set" in str(done.exception)
    assert not settings.retail_home.exists()


def test_a_path_on_disk_is_never_made_up_for_a_lake_in_a_bucket(settings: Settings) -> None:
    there = settings.model_copy(update={"s3_bucket": "lake"})
    for name in ("lake_dir", "checkpoints_dir"):
        with pytest.raises(SettingsError, match="S3_BUCKET"):
            getattr(there, name)
