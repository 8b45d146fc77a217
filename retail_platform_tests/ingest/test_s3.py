"""The lake in a bucket, over S3's own protocol: the real driver, Spark and delta-rs on the same tables."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from retail_platform.contracts import TRANSACTIONS
from retail_platform.embedded.ports import free_port_pair
from retail_platform.lakehouse import quality
from retail_platform.lakehouse.location import s3_client
from retail_platform.lakehouse.manifest import manifest
from retail_platform.settings import PROJECT_ROOT, Settings, child_environment
from retail_platform.warehouse import open_warehouse
from retail_platform_tests.conftest import SHORT_LIVED
from retail_platform_tests.ingest.running import deliver, message, rows, sale

LINES = TRANSACTIONS.silver_table
_SECONDS = 150.0


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """A store that speaks S3."""
    port = free_port_pair()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    # A process of its own: delta-rs holds Python's lock while it waits for an answer.
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            break
        assert time.monotonic() < deadline, "the S3 server did not start"
        time.sleep(0.1)
    yield f"http://127.0.0.1:{port}"
    server.terminate()
    server.wait()


@pytest.fixture
def bucket_settings(endpoint: str, lake_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of a lake in an empty bucket; the environment has them too, for the driver."""
    name = f"lake-{os.urandom(4).hex()}"
    found = {
        "s3_bucket": name,
        "s3_endpoint_url": endpoint,
        "aws_access_key_id": "key-of-a-test",
        "aws_secret_access_key": "secret-of-a-test",
        "aws_region": "eu-west-1",
    }
    for variable, value in found.items():
        monkeypatch.setenv(variable.upper(), value)
    settings = Settings(_env_file=None, **(lake_settings.model_dump() | found))
    region = {"LocationConstraint": "eu-west-1"}
    s3_client(settings).create_bucket(Bucket=name, CreateBucketConfiguration=region)
    return settings


def _start(settings: Settings, mode: str) -> subprocess.Popen[bytes]:
    environment = child_environment(settings) | {
        "KAFKA_EMBEDDED_PORT": str(settings.kafka_embedded_port),
        "SPARK_DRIVER_MEMORY": "800m",
        "SPARK_DRIVER_JAVA_OPTIONS": SHORT_LIVED,
        "INGEST_NICE": "0",
    }
    return subprocess.Popen(
        [sys.executable, "-m", "retail_platform.ingest.job", "--mode", mode],
        env=environment,
        cwd=PROJECT_ROOT,
        stdin=subprocess.DEVNULL,
    )


def test_drain(bucket_settings: Settings) -> None:
    deliver(bucket_settings, [message(sale()), message(sale()), message(b"junk")])
    t = time.time()
    assert _start(bucket_settings, "available_now").wait(_SECONDS) == 0
    print("drain", time.time() - t)
    found = quality.balance(bucket_settings)[0]
    assert (found.bronze, found.silver, found.quarantine, found.difference) == (3, 2, 1, 0)
    dates = [row[0] for row in rows(bucket_settings, LINES, "select distinct business_date from t")]
    result = open_warehouse(bucket_settings).load(manifest(bucket_settings, LINES, dates), "run-1")
    assert result.rows == 4
    assert open_warehouse(bucket_settings).reconcile(LINES, dates) == []
