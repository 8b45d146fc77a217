"""The real driver, killed with SIGKILL at named points of a batch and at random, then started again."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from retail_platform.contracts import BRONZE_EVENTS, TRANSACTIONS
from retail_platform.ingest.spark_config import scratch
from retail_platform.lakehouse import quality
from retail_platform.lakehouse.heartbeat import read_heartbeat
from retail_platform.lakehouse.history import versions
from retail_platform.lakehouse.lease import LakeInUse, holder, lake_lease
from retail_platform.settings import PROJECT_ROOT, Settings
from retail_platform_tests.environment import driver_environment
from retail_platform_tests.ingest.running import deliver, message, rows, sale
from retail_platform_tests.waiting import until

LINES = TRANSACTIONS.silver_table
_SECONDS = 150.0
_DRAIN = ("--mode", "available_now")
_OFTEN = {"ingest_trigger_seconds": 1, "ingest_compact_minutes": 0.05}


def _start(settings: Settings, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, *arguments],
        env=driver_environment(settings, **_OFTEN),
        cwd=PROJECT_ROOT,
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.timeout(600)
def test_a_driver_killed_at_named_points_and_at_random_loses_nothing_doubles_nothing_and_stops_when_told_to(
    lake_settings: Settings,
) -> None:
    twin = sale()
    deliver(
        lake_settings,
        [message(twin), message(sale()), message(b"junk"), message(sale(event_time="2014-01-01T00:00:00Z"))],
    )
    for point, victim, code in (
        (f"after:{LINES.path}", "both", -signal.SIGKILL),
        (f"before:{BRONZE_EVENTS.path}", "jvm", 1),
    ):
        doomed = _start(
            lake_settings, "-m", "retail_platform.chaos.doomed", "--point", point, "--victim", victim, *_DRAIN
        )
        assert doomed.wait(_SECONDS) == code
        deliver(lake_settings, [message(twin), message(sale()), message(None)])
    beat = read_heartbeat(lake_settings)
    assert beat is not None
    assert beat.state == "failed"
    assert "JVM has ended" in (beat.error or "")

    running = _start(lake_settings, "-m", "retail_platform.ingest.job", "--mode", "continuous")
    _wait_until_it_runs(lake_settings, running)
    with pytest.raises(LakeInUse, match=f"process {running.pid}"), lake_lease(lake_settings, "a second writer"):
        pass
    deliver(lake_settings, [message(sale()) for _ in range(500)])
    time.sleep(random.Random(7).uniform(0.2, 2.0))  # a moment of the batch that nobody chose
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    left_behind = set(scratch(lake_settings).iterdir())
    assert left_behind

    again = _start(lake_settings, "-m", "retail_platform.ingest.job", "--mode", "continuous")
    until(again, "all is read", lambda: _balanced(lake_settings, 510), _SECONDS)
    found, *_ = quality.balance(lake_settings)
    assert (found.silver, found.quarantine, found.duplicates) == (505, 3, 2)
    assert quality.duplicate_keys(lake_settings, LINES, None) == []
    assert rows(lake_settings, BRONZE_EVENTS, 'select count(distinct ("partition", "offset")) from t') == [(510,)]
    until(again, "it compacts what it has written", lambda: _compacted(lake_settings), _SECONDS)
    deliver(lake_settings, [message(sale()) for _ in range(20)])
    until(again, "it goes on", lambda: _balanced(lake_settings, 530), _SECONDS)
    assert quality.duplicate_keys(lake_settings, LINES, None) == []
    assert not left_behind & set(scratch(lake_settings).iterdir())
    _stops_between_batches_when_it_is_told_to(again, lake_settings)


def _compacted(settings: Settings) -> bool:
    return any(version.operation == "OPTIMIZE" for version in versions(settings, LINES, 50))


def _balanced(settings: Settings, records: int) -> bool:
    found = quality.balance(settings)[0]
    return found.bronze == records and found.difference == 0


def _stops_between_batches_when_it_is_told_to(running: subprocess.Popen[bytes], settings: Settings) -> None:
    owner = holder(settings)
    assert owner is not None
    assert owner.jvm_pid is not None
    running.send_signal(signal.SIGINT)
    assert running.wait(_SECONDS) == 0
    assert holder(settings) is None
    with pytest.raises(ProcessLookupError):
        os.kill(owner.jvm_pid, 0)
    beat = read_heartbeat(settings)
    assert beat is not None
    assert (beat.state, beat.mode) == ("stopped", "continuous")


def _wait_until_it_runs(settings: Settings, process: subprocess.Popen[bytes]) -> None:
    def runs() -> bool:
        beat = read_heartbeat(settings)
        return beat is not None and beat.pid == process.pid and beat.state == "running"

    until(process, "the stream runs", runs, _SECONDS)
