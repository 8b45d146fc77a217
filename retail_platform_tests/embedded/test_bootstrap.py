"""``make setup``, as far as it can be seen without installing anything: what it decides and what it says."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from retail_platform.embedded import bootstrap, jars


@pytest.fixture
def complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A set-up that has just ended well; its cache of jars."""
    everything = [jar.path for group in jars.locked().values() for jar in group]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    cache = bootstrap.jars_dir()
    cache.mkdir(parents=True)
    for path in everything:
        (cache / path.name).symlink_to(path)
    monkeypatch.setattr(bootstrap, "STAMP", tmp_path / "stamp")
    monkeypatch.setattr(bootstrap, "PYTHON", Path(sys.executable))
    bootstrap.STAMP.write_text(bootstrap.setup_key())
    return cache


def test_nothing_is_left_to_do_after_a_set_up(complete: Path) -> None:
    assert complete.is_dir()
    assert bootstrap.is_complete(bootstrap.setup_key())


@pytest.mark.parametrize("lock", ["PACKAGES_LOCK", "JARS_LOCK"])
def test_a_changed_lock_is_set_up_again(
    complete: Path, lock: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert complete.is_dir()
    changed = tmp_path / "changed"
    changed.write_bytes(getattr(bootstrap, lock).read_bytes() + b"\n")
    monkeypatch.setattr(bootstrap, lock, changed)
    assert not bootstrap.is_complete(bootstrap.setup_key())


def test_a_jar_that_left_the_cache_is_brought_again(complete: Path) -> None:
    next(complete.iterdir()).unlink()
    assert not bootstrap.is_complete(bootstrap.setup_key())


def test_an_environment_that_is_gone_is_made_again(complete: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert complete.is_dir()
    monkeypatch.setattr(bootstrap, "PYTHON", Path("/nowhere/python"))
    assert not bootstrap.is_complete(bootstrap.setup_key())


@pytest.mark.parametrize("configured", [None, "", "relative", "/somewhere/else"])
def test_it_looks_for_the_jars_where_they_are(configured: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if configured is None:
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    else:
        monkeypatch.setenv("XDG_CACHE_HOME", configured)
    assert bootstrap.jars_dir() == jars.jars_dir()


def test_the_installer_comes_pinned_with_its_hashes() -> None:
    entry = bootstrap.locked_requirement("uv")
    assert re.match(r"uv==[\d.]+ \\\n", entry)
    assert entry.count("--hash=sha256:") > 5
    assert not entry.rstrip().endswith("\\")
    assert "uvicorn" not in entry


def test_an_unsupported_python_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "SUPPORTED", ((2, 6),))
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(bootstrap.SetupError, match=r"Python 3\.\d+ is not supported .*apt install python3\.11"):
        bootstrap.use_supported_python()


def test_an_unsupported_python_hands_over_to_a_supported_one(tmp_path: Path) -> None:
    """A copy that supports only a made-up version finds it on the PATH and runs on under it."""
    python = tmp_path / "python9.9"
    python.write_text('#!/bin/sh\n[ "$1" = -c ] && exit 0\necho "handed over: $*"\n')
    python.chmod(0o755)
    copy = tmp_path / "bootstrap.py"
    source = Path(bootstrap.__file__).read_text()
    copy.write_text(re.sub(r"^SUPPORTED = .*$", "SUPPORTED = ((9, 9),)", source, flags=re.MULTILINE))
    answer = subprocess.run(
        [sys.executable, copy, "--quiet"], capture_output=True, text=True, check=True, env={"PATH": f"{tmp_path}:/bin"}
    )
    assert answer.stdout == f"handed over: {copy} --quiet\n"


def test_a_python_as_old_as_3_7_can_read_it() -> None:
    ast.parse(Path(bootstrap.__file__).read_text(), feature_version=(3, 7))


def test_too_little_disk_is_told_before_anything_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "PYTHON", Path("/nowhere/python"))
    monkeypatch.setattr(bootstrap, "NEEDED_GIB", 2**40)
    with pytest.raises(bootstrap.SetupError, match=r"needs \d+ GiB of disk .*make room"):
        bootstrap._require_space()


@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
def test_make_without_a_target_lists_the_front_doors() -> None:
    answer = subprocess.run(["make"], cwd=bootstrap.ROOT, capture_output=True, text=True, check=True).stdout
    for door in ("setup", "demo", "dev", "test", "lint", "bench", "clean"):
        assert f"make {door}" in answer
