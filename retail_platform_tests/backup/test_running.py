"""A backup is taken of a real broker and a real stream under load, and goes on elsewhere from that moment, exactly."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import pytest
from typer.testing import CliRunner

from retail_platform import kafka
from retail_platform.cli import backup as command
from retail_platform.cli.app import app
from retail_platform.contracts import BRONZE_EVENTS, TRANSACTIONS
from retail_platform.embedded.broker import EmbeddedBroker
from retail_platform.embedded.ports import free_port_pair
from retail_platform.lakehouse import quality
from retail_platform.lakehouse.heartbeat import read_heartbeat
from retail_platform.producer.message import Message
from retail_platform.producer.send import send
from retail_platform.settings import PROJECT_ROOT, Settings, load_settings
from retail_platform_tests.environment import driver_environment
from retail_platform_tests.ingest.running import message, rows, sale

pytestmark = pytest.mark.timeout(600)

LINES = TRANSACTIONS.silver_table
_SECONDS = 150.0
_RATE = 200.0


@pytest.fixture
def first(tmp_path: Path) -> Iterator[Settings]:
    """A home with a running broker of its own."""
    with running_broker(tmp_path / "first") as settings:
        yield settings


@contextmanager
def running_broker(home: Path) -> Iterator[Settings]:
    settings = load_settings(
        env_file=None, retail_home=home, retail_outputs=home / "outputs", kafka_embedded_port=free_port_pair()
    )
    broker = EmbeddedBroker(settings)
    try:
        broker.start()
        yield settings
    finally:
        broker.stop()


@contextmanager
def job(settings: Settings, mode: str) -> Iterator[subprocess.Popen[bytes]]:
    """The streaming job as a process, ended at the end."""
    arguments = [sys.executable, "-m", "retail_platform.ingest.job", "--mode", mode]
    process = subprocess.Popen(
        arguments,
        env=driver_environment(settings, ingest_trigger_seconds=0.2),
        cwd=PROJECT_ROOT,
        stdin=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(_SECONDS)


class Till:
    """Sends sales without end, every tenth of them twice; ``acknowledged`` are the events that Kafka has, in turn."""

    def __init__(self, settings: Settings) -> None:
        self.acknowledged: list[str] = []
        self._settings, self._stop = settings, threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(_SECONDS)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        send(self._settings, self._sales(), rate=_RATE, on_acknowledged=lambda sent, *_: self._note(sent))

    def _note(self, sent: Message) -> None:
        self.acknowledged.append((sent.key or b"").decode())

    def _sales(self) -> Iterator[Message]:
        number = 0
        while not self._stop.is_set():
            event = sale()
            number += 1
            for _ in range(2 if number % 10 == 0 else 1):
                yield message(event, key=event["event_id"])


@pytest.mark.soak
def test_a_backup_under_load_goes_on_elsewhere_with_nothing_lost_and_nothing_twice(
    first: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "get_settings", lambda: first)
    with Till(first) as till, job(first, "continuous") as stream:
        wait_until(stream, "the stream takes events", lambda: taken(first) > 1_000)
        before = set(till.acknowledged)
        done = CliRunner().invoke(app, ["backup", str(tmp_path / "backup"), "--yes"])
        assert done.exit_code == 0, done.output
        after = len(till.acknowledged)
        wait_until(stream, "the load goes on", lambda: len(till.acknowledged) > after + 500)
        sent = till.acknowledged
    assert len(before) > 500

    with running_broker_of_the_backup(tmp_path, monkeypatch) as second:
        with job(second, "available_now") as again:
            assert again.wait(_SECONDS) == 0
        found = [event for (event,) in rows(second, LINES, "select event_id from t where line_number = 1")]
        held = kafka.offsets(second, [TRANSACTIONS.topic])[TRANSACTIONS.topic]
    assert len(found) == len(set(found))
    assert before <= set(found) <= set(sent)
    assert quality.duplicate_keys(second, LINES, None) == []
    assert not any(entry.difference for entry in quality.balance(second))
    everything = sum(last for _, last in held.values())
    assert rows(second, BRONZE_EVENTS, "select count(*) from t") == [(everything,)]


@contextmanager
def running_broker_of_the_backup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    home = tmp_path / "second"
    there = load_settings(env_file=None, retail_home=home, kafka_embedded_port=free_port_pair())
    monkeypatch.setattr(command, "get_settings", lambda: there)
    done = CliRunner().invoke(app, ["restore", str(tmp_path / "backup"), "--yes"])
    assert done.exit_code == 0, done.output
    with running_broker(home) as settings:
        yield settings


_HALTS = """
import sys, time
from pathlib import Path
from typing import Self
from retail_platform.embedded.broker import EmbeddedBroker
from retail_platform.settings import load_settings
settings = load_settings(env_file=None, retail_home=sys.argv[1], kafka_embedded_port=int(sys.argv[2]))
with EmbeddedBroker(settings).standing_still():
    print("still", flush=True)
    time.sleep(600)
"""


def test_a_broker_that_was_halted_wakes_when_the_backup_is_killed_and_has_lost_nothing(first: Settings) -> None:
    with Till(first) as till:
        wait_until(None, "a first event", lambda: bool(till.acknowledged))
        arguments = [sys.executable, "-c", _HALTS, str(first.retail_home), str(first.kafka_embedded_port)]
        halting = subprocess.Popen(arguments, stdout=subprocess.PIPE, cwd=PROJECT_ROOT)
        assert halting.stdout is not None
        with halting.stdout:
            assert halting.stdout.readline() == b"still\n"
            assert not kafka.is_reachable(first, timeout_seconds=1)
            known = len(till.acknowledged)
            os.kill(halting.pid, signal.SIGKILL)
            halting.wait()
        wait_until(None, "the broker answers", lambda: kafka.is_reachable(first, timeout_seconds=2))
        wait_until(None, "the till goes on", lambda: len(till.acknowledged) > known + 200)
    held = kafka.offsets(first, [TRANSACTIONS.topic])[TRANSACTIONS.topic]
    assert sum(last for _, last in held.values()) == len(till.acknowledged)


def taken(settings: Settings) -> int:
    beat = read_heartbeat(settings)
    return min((query.rows for query in beat.queries if "lines" in query.name), default=0) if beat else 0


def wait_until(process: subprocess.Popen[bytes] | None, what: str, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _SECONDS
    while not holds():
        assert process is None or process.poll() is None, "the stream ended"
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.1)
