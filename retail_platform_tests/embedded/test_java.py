"""Which Java is run."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from retail_platform.embedded import java
from retail_platform.errors import RetailError


@pytest.fixture(autouse=True)
def machine_without_java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Neither JAVA_HOME, nor a java on the PATH, nor Debian's folders; the answers are looked for anew."""
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(java, "_DEBIAN_HOMES", tmp_path / "jvm")
    _forget()
    yield
    _forget()


def _forget() -> None:
    java.find_java.cache_clear()
    java.java_home.cache_clear()


def reporting(home: Path, version: str) -> Path:
    """A Java home whose ``java`` says that it is of that version."""
    program = home / "bin" / "java"
    program.parent.mkdir(parents=True)
    settings = f"    java.home = {home}\\n    java.specification.version = {version}\\n"
    program.write_text(f"#!/bin/sh\nprintf '{settings}' >&2\n")
    program.chmod(0o755)
    return home


def test_java_home_wins_over_the_path_and_the_path_over_debians_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = reporting(tmp_path / "jvm" / "java-21", "21")
    on_path = reporting(tmp_path / "tools", "17")
    configured = reporting(tmp_path / "mine", "25")
    assert java.java_home() == installed
    monkeypatch.setenv("PATH", str(on_path / "bin"))
    _forget()
    assert java.java_home() == on_path
    monkeypatch.setenv("JAVA_HOME", str(configured))
    _forget()
    assert java.java_home() == configured
    assert java.find_java() == configured / "bin" / "java"


@pytest.mark.parametrize("version", ["1.8", "11", "16"])
def test_a_java_that_is_too_old_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setenv("JAVA_HOME", str(reporting(tmp_path / "old", version)))
    installed = reporting(tmp_path / "jvm" / "java-17", "17")
    assert java.java_home() == installed


def test_a_java_home_that_is_not_one_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "not-there"))
    installed = reporting(tmp_path / "jvm" / "java-17", "17")
    assert java.java_home() == installed


def test_a_link_on_the_path_leads_to_the_real_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = reporting(tmp_path / "real", "17")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "java").symlink_to(home / "bin" / "java")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert java.java_home() == home


def test_a_machine_without_java_runs_the_bundled_one_with_the_options_that_spark_gives_it(tmp_path: Path) -> None:
    found = java.find_java()
    assert java.is_bundled(found)
    assert found == java.java_home() / "bin" / "java"
    assert found.is_relative_to(tmp_path / "cache")
    options = ["--add-modules=jdk.incubator.vector", "-Dname=a b", "-XshowSettings:properties", "-version"]
    answer = subprocess.run(
        [found, *options], capture_output=True, text=True, check=True, env={"PATH": "/usr/bin:/bin"}
    )
    assert "name = a b" in answer.stderr
    assert "java.specification.version = 21" in answer.stderr


def test_no_java_at_all_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(java, "_bundled_java", lambda: None)
    with pytest.raises(RetailError, match=r"no Java 17 or newer .*apt install .*make setup"):
        java.java_home()
