"""``make setup``: from a bare ``python3`` to a complete ``.venv`` and the jars; a second run does nothing, offline.

It runs before anything is installed: the standard library only, and the one other reader of the environment. It must
also parse on a Python that is too old (3.7), in order to say so.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / ".setup-complete"
PACKAGES_LOCK = ROOT / "requirements.lock"
JARS_LOCK = Path(__file__).resolve().with_name("jars.lock.json")

SUPPORTED = ((3, 11), (3, 12), (3, 13))
NEEDED_GIB = 3
_GIB = 1024**3
_FULL_BYTES = 64 * 1024**2


class SetupError(Exception):
    """What stopped the set-up and what to do about it, on one line."""


def main() -> int:
    """Set up what is missing; the exit code."""
    parser = argparse.ArgumentParser(prog="make setup", description="Bring all that the platform needs.")
    parser.add_argument("--quiet", action="store_true", help="say nothing when there is nothing to do")
    quiet = parser.parse_args().quiet
    try:
        use_supported_python()
        key = setup_key()
        if is_complete(key):
            if not quiet:
                print("set-up is complete, nothing to do")
            return 0
        started = time.monotonic()
        set_up()
        STAMP.write_text(key, encoding="utf-8")
        print(f"set-up complete in {time.monotonic() - started:.0f} s", flush=True)
    except SetupError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: {error}; mend that and run `make setup` again", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; `make setup` goes on from here", file=sys.stderr)
        return 130
    return 0


# --- Which Python -----------------------------------------------------------------------------------------------------


def use_supported_python() -> None:
    """Go on under a supported Python: this one, or another on the PATH, which then takes this process over.

    Raises:
        SetupError: there is none.
    """
    if sys.version_info[:2] in SUPPORTED:
        return
    for major, minor in reversed(SUPPORTED):
        python = shutil.which(f"python{major}.{minor}")
        if python is not None and _runs(python):  # pyenv has names on the PATH that do not run
            os.execv(python, [python, *sys.argv])  # noqa: S606  no shell is wanted
    raise SetupError(
        f"Python {_minor(sys.version)} is not supported and no python3.11, python3.12 or python3.13 is on the PATH; "
        "install one (Debian: apt install python3.11 python3.11-venv), or name it: make setup PYTHON=/path/python3.12"
    )


def _runs(program: str | Path, *arguments: str) -> bool:
    try:
        command = [program, *(arguments or ("-c", ""))]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


# --- Is there anything to do ------------------------------------------------------------------------------------------


def setup_key() -> str:
    """What a complete set-up depends on: both locks, the project's declaration, the Python, and where the clone is."""
    digest = hashlib.sha256(f"{_minor(sys.version)} {ROOT}".encode())
    for file in (PACKAGES_LOCK, JARS_LOCK, ROOT / "pyproject.toml"):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _minor(version: str) -> str:
    """``3.11`` of ``3.11.7``: an environment outlives its Python's patches."""
    return ".".join(version.split(".")[:2])


def is_complete(key: str) -> bool:
    """Whether a set-up with this key ended well and its jars are still in the cache."""
    if not STAMP.is_file() or STAMP.read_text(encoding="utf-8") != key or not PYTHON.exists():
        return False
    cache = jars_dir()
    entries = [entry for group in json.loads(JARS_LOCK.read_text(encoding="utf-8")).values() for entry in group]
    return all((cache / entry["file"]).is_file() for entry in entries)


def jars_dir() -> Path:
    """Where the jars are: the same folder as ``jars.jars_dir()``, which cannot be imported yet."""
    configured = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(configured) if Path(configured).is_absolute() else Path.home() / ".cache"
    return base / "retail-platform" / "jars"


# --- The steps --------------------------------------------------------------------------------------------------------


def set_up() -> None:
    """Bring the virtual environment, the packages and the jars to what the locks say.

    Raises:
        SetupError: a step failed.
    """
    STAMP.unlink(missing_ok=True)
    _require_space()
    _step(1, f"virtual environment .venv, Python {sys.version.split()[0]}", _make_venv)
    count = len(re.findall(r"^\S+==", PACKAGES_LOCK.read_text(encoding="utf-8"), re.MULTILINE))
    _step(2, f"Python packages, up to {count}, from {PACKAGES_LOCK.name}", _install_packages)
    _step(3, f"jars, from {JARS_LOCK.name}", _fetch_jars)


def _step(number: int, title: str, run: Callable[[], None]) -> None:
    started = time.monotonic()
    print(f"[{number}/3] {title}", flush=True)
    run()
    print(f"      {time.monotonic() - started:.1f} s", flush=True)


def _require_space() -> None:
    free = shutil.disk_usage(ROOT).free
    if not PYTHON.exists() and free < NEEDED_GIB * _GIB:
        raise SetupError(
            f"the set-up needs {NEEDED_GIB} GiB of disk and {ROOT} has {free / _GIB:.1f} GiB free; make room first"
        )


def _make_venv() -> None:
    """Make ``.venv``, again when it is of another Python or does not run (moved, half removed)."""
    if _venv_version() == _minor(sys.version) and _runs(PYTHON):
        return
    command = [sys.executable, "-m", "venv", "--clear", str(VENV)]
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if result.returncode == 0:
        return
    if "ensurepip" in result.stdout:
        raise SetupError(f"{sys.executable} cannot make virtual environments; Debian: apt install python3-venv")
    said = result.stdout.strip().splitlines()[-1:] or [f"exit code {result.returncode}"]
    raise SetupError(f"{sys.executable} cannot make {VENV} ({said[0]}); mend that and run `make setup` again")


def _venv_version() -> str | None:
    try:
        text = (VENV / "pyvenv.cfg").read_text(encoding="utf-8")
    except OSError:
        return None
    found = re.search(r"^version\w* = (.+)$", text, re.MULTILINE)
    return _minor(found[1]) if found else None


def _install_packages() -> None:
    """Install what the lock names and the project itself, editable; uv does it, and pip brings uv."""
    uv = VENV / "bin" / "uv"
    if not _runs(uv, "--version"):
        with tempfile.TemporaryDirectory() as folder:
            lock = Path(folder) / "uv.lock.txt"
            lock.write_text(locked_requirement("uv"), encoding="utf-8")
            _install(
                [
                    PYTHON,
                    "-m",
                    "pip",
                    "install",
                    "--no-deps",
                    "--require-hashes",
                    "--disable-pip-version-check",
                    "-r",
                    lock,
                ]
            )
    _install([uv, "pip", "sync", "--python", PYTHON, "--require-hashes", PACKAGES_LOCK])
    _install([uv, "pip", "install", "--python", PYTHON, "--no-deps", "--no-build-isolation", "--editable", ROOT])


def locked_requirement(package: str) -> str:
    """The package's own entry in the lock: its version and all its hashes."""
    entry = re.search(rf"^{package}==[^#]*", PACKAGES_LOCK.read_text(encoding="utf-8"), re.MULTILINE)
    if entry is None:
        raise SetupError(f"{PACKAGES_LOCK.name} does not name {package}; take the file from the repository again")
    return entry[0].rstrip() + "\n"


def _install(command: Sequence[str | Path]) -> None:
    """Run an installer, its progress on the terminal.

    Raises:
        SetupError: it failed; what it said is above the line.
    """
    if subprocess.run(command, check=False, cwd=ROOT).returncode == 0:
        return
    free = shutil.disk_usage(VENV).free
    if free < _FULL_BYTES:
        raise SetupError(
            f"the disk is full ({free / _GIB:.2f} GiB free at {VENV}); make room and run `make setup` again"
        )
    raise SetupError(
        "the Python packages could not be installed (see above); check the network and the proxy (HTTPS_PROXY; an "
        "index of your own: PIP_INDEX_URL and UV_INDEX_URL), then run `make setup` again: what has arrived is kept"
    )


def _fetch_jars() -> None:
    """Bring the jars; what that says when it fails is the one line already."""
    result = subprocess.run([PYTHON, "-m", "retail_platform.embedded.jars", "fetch"], check=False, cwd=ROOT)
    if result.returncode != 0:
        sys.exit(result.returncode)


if __name__ == "__main__":
    sys.exit(main())
