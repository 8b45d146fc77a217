"""The lake in a bucket, over S3's own protocol: the real driver, Spark and delta-rs on the same tables."""

from __future__ import annotations

import datetime as dt
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from retail_platform.contracts import BRONZE_EVENTS, INGEST_BATCHES, TRANSACTIONS
from retail_platform.lakehouse import quality
from retail_platform.lakehouse.bucket_lease import BucketInUse
from retail_platform.lakehouse.heartbeat import read_heartbeat
from retail_platform.lakehouse.history import differences, readable, size, versions
from retail_platform.lakehouse.lease import lake_lease
from retail_platform.lakehouse.location import open_delta
from retail_platform.lakehouse.manifest import Manifest, manifest
from retail_platform.lakehouse.reading import rows_of
from retail_platform.lakehouse.requests import have_done
from retail_platform.settings import FX_RATES, PROJECT_ROOT, Settings
from retail_platform.warehouse import open_warehouse
from retail_platform.warehouse.tie_out import recompute
from retail_platform_tests.environment import driver_environment
from retail_platform_tests.ingest.running import deliver, in_a_bucket, message, rows, sale
from retail_platform_tests.waiting import until

LINES = TRANSACTIONS.silver_table
DAY = dt.date(2024, 1, 2)
_SECONDS = 150.0


def on_the_day(**changes: str) -> bytes | dict[str, object]:
    return sale(event_time=f"{DAY}T12:00:00Z", currency="USD", **changes)


@pytest.fixture
def drivers() -> Iterator[list[subprocess.Popen[bytes]]]:
    """The drivers that the test starts; what still runs at its end is killed, and its JVM ends itself."""
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for driver in started:
        driver.kill()
        driver.wait()


@pytest.mark.timeout(600)
def test_a_lake_in_a_bucket_survives_a_kill_is_compacted_rebuilt_read_in_the_past_and_loaded(
    lake_settings: Settings,
    s3_endpoint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    drivers: list[subprocess.Popen[bytes]],
) -> None:
    # Keys that only a profile has: the driver's JVM, delta-rs, Arrow and boto3 must each find them by its name.
    profiles = tmp_path / "credentials"
    profiles.write_text("[till]\naws_access_key_id = key-of-a-test\naws_secret_access_key = secret-of-a-test\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(profiles))
    settings = in_a_bucket(lake_settings, s3_endpoint, aws_profile="till")
    twin = on_the_day()
    deliver(settings, [message(twin), message(b"junk")])
    running = _start(settings)
    drivers.append(running)
    until(running, "a first batch is in", lambda: _rows_of_silver(settings) >= 2, _SECONDS)
    deliver(settings, [message(twin), *(message(on_the_day()) for _ in range(200))])
    time.sleep(random.Random(7).uniform(0.2, 2.0))  # a moment of the batch that nobody chose
    os.kill(running.pid, signal.SIGKILL)
    running.wait()

    again = _start(settings)  # at once: that the killed one was of this installation is known from its local lease
    drivers.append(again)
    until(again, "all is read", lambda: _all_in(settings), _SECONDS)
    found, *_ = quality.balance(settings)
    assert (found.silver, found.quarantine, found.duplicates) == (201, 1, 1)
    assert quality.duplicate_keys(settings, LINES, None) == []
    assert rows(settings, BRONZE_EVENTS, 'select count(distinct ("partition", "offset")) from t') == [(203,)]
    elsewhere = settings.model_copy(update={"retail_home": tmp_path / "elsewhere"})
    with (
        pytest.raises(BucketInUse, match=rf"ingest \(continuous\) \(process {again.pid} on .*runs out in"),
        lake_lease(elsewhere, "another driver"),
    ):
        pass

    _compacted_and_readable_as_it_was(settings)
    again.send_signal(signal.SIGTERM)
    assert again.wait(_SECONDS) == 0
    with lake_lease(elsewhere, "another driver"):
        pass

    result = open_warehouse(settings).load(manifest(settings, LINES, [DAY]), "run-1")
    assert result.rows == 402
    assert open_warehouse(settings).reconcile(LINES, [DAY]) == []
    (day,) = recompute(manifest(settings, LINES, [DAY]), manifest(settings, INGEST_BATCHES, [DAY]), FX_RATES)
    assert (day.date, day.orders, day.revenue_usd) == (DAY, 201, Decimal("5027.51"))
    secret = b"secret-of-a-test"
    written = [path for path in settings.retail_home.rglob("*") if path.is_file()]
    assert [path for path in written if secret in path.read_bytes()] == []


def _compacted_and_readable_as_it_was(settings: Settings) -> None:
    before, old = size(settings, LINES), manifest(settings, LINES)
    assert before.files > 1
    # As the stream does after a hundred commits; Spark reads on from it.
    open_delta(settings, LINES).create_checkpoint()
    for work in ("optimize", "vacuum"):
        _asked(settings, work, {"tables": [LINES.path]})
    assert size(settings, LINES).files == 1
    assert "OPTIMIZE" in {version.operation for version in versions(settings, LINES, 5)}
    assert _events(readable(settings, LINES, old.version)) == _events(manifest(settings, LINES))
    rebuilt = _asked(settings, "rebuild_silver", {"table": TRANSACTIONS.silver_name, "dates": [DAY.isoformat()]})
    assert (rebuilt["rows_before"], rebuilt["rows_after"]) == (402, 402)
    assert differences(settings, LINES, old.version, manifest(settings, LINES).version) == []


def _asked(settings: Settings, work: str, arguments: dict[str, Any]) -> dict[str, Any]:
    done = have_done(settings, work, arguments, lambda: pytest.fail("no stream was there to ask"))
    assert done["done by"] == "the running stream"
    return done


def _events(contents: Manifest) -> list[tuple[str, ...]]:
    return rows_of(contents, "select event_id, line_number from t order by all")


def _rows_of_silver(settings: Settings) -> int:
    beat = read_heartbeat(settings)
    if beat is None or beat.state != "running":
        return 0
    return max((query.rows for query in beat.queries if query.name == LINES.path), default=0)


def _all_in(settings: Settings) -> bool:
    # The logs first: they are two requests, the balance is many.
    written = [manifest(settings, table).rows for table in (BRONZE_EVENTS, LINES)]
    if written != [203, 402]:
        return False
    found = quality.balance(settings)[0]  # of what the ledger has, which is written last
    return (found.bronze, found.difference) == (203, 0)


def _start(settings: Settings) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "retail_platform.ingest.job", "--mode", "continuous"]
    return subprocess.Popen(
        command, env=driver_environment(settings, ingest_trigger_seconds=1), cwd=PROJECT_ROOT, stdin=subprocess.DEVNULL
    )
