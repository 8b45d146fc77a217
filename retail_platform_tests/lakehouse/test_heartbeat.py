"""The heartbeat is what everybody else knows of a stream: it must come through on a full disk too."""

from __future__ import annotations

import datetime as dt
import errno
import os
from pathlib import Path

import pytest

from retail_platform.lakehouse.heartbeat import Heartbeat, read_heartbeat, write_heartbeat
from retail_platform.settings import Settings

NOW = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
RUNNING = Heartbeat(
    "running", "continuous", 7, NOW, NOW, error="a longer text than that which is to stand there after it"
)
FAILED = Heartbeat("failed", "continuous", 7, NOW, NOW, error="No space left")


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No file gets another block: what is written to a new one fails, as the system call does."""

    def write_text(path: Path, _text: str) -> int:
        path.touch()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(Path, "write_text", write_text)


def test_the_last_heartbeat_is_written_over_where_the_disk_is_full(
    settings: Settings, request: pytest.FixtureRequest
) -> None:
    write_heartbeat(settings, RUNNING)
    request.getfixturevalue("full_disk")
    write_heartbeat(settings, FAILED)
    assert read_heartbeat(settings) == FAILED
    assert [path.name for path in settings.control_dir.iterdir()] == ["ingest.json"]


@pytest.mark.usefixtures("full_disk")
def test_a_first_heartbeat_on_a_full_disk_is_an_error_and_leaves_nothing(settings: Settings) -> None:
    with pytest.raises(OSError, match="No space left"):
        write_heartbeat(settings, RUNNING)
    assert read_heartbeat(settings) is None
    assert list(settings.control_dir.iterdir()) == []


def test_a_heartbeat_longer_than_the_blocks_of_the_last_leaves_that_as_it_is(
    settings: Settings, request: pytest.FixtureRequest
) -> None:
    write_heartbeat(settings, RUNNING)
    request.getfixturevalue("full_disk")
    with pytest.raises(OSError, match="No space left"):
        write_heartbeat(settings, Heartbeat("failed", "continuous", 7, NOW, NOW, error="x" * 100_000))
    assert read_heartbeat(settings) == RUNNING
