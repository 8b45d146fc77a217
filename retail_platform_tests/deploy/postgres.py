"""A real PostgreSQL server on a free loopback port, its data in a folder that goes with it."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg2
import pytest

PASSWORD = "a p@ss/word:with%everything"  # what an address would have to quote
_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Server:
    """Where it listens; user, database and password are ``dagster``, ``dagster`` and ``PASSWORD``."""

    port: int

    def environment(self) -> dict[str, str]:
        """The platform's settings for it."""
        return {
            "DAGSTER_POSTGRES_HOST": "127.0.0.1",
            "DAGSTER_POSTGRES_PORT": str(self.port),
            "DAGSTER_POSTGRES_PASSWORD": PASSWORD,
        }

    def query(self, sql: str) -> list[tuple[object, ...]]:
        with contextlib.closing(connect(self.port)) as connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())


def connect(port: int) -> psycopg2.extensions.connection:
    return psycopg2.connect(host="127.0.0.1", port=port, user="dagster", password=PASSWORD, dbname="dagster")


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    """Start it, empty, and end it; the test is skipped where no server is installed."""
    programs = _programs()
    if programs is None:
        pytest.skip("no PostgreSQL server is installed here (Debian: apt install postgresql)")
    # PostgreSQL refuses to be root, as which continuous integration runs.
    user = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="retail-postgres-"))
    secret = folder / "password"
    secret.write_text(PASSWORD)
    if user is not None:
        for path in (folder, secret):
            os.chown(path, user.pw_uid, user.pw_gid)
    port = _free_port()
    who = {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    init = [programs / "initdb", "--pgdata", folder / "data", "--username", "dagster", "--pwfile", secret]
    init += ["--auth=scram-sha-256", "--no-sync", "--encoding=UTF8", "--locale=C"]
    command = [programs / "postgres", "-D", folder / "data", "-p", str(port), "-k", "", "-h", "127.0.0.1", "-F"]
    try:
        subprocess.run(init, check=True, capture_output=True, cwd=folder, **who)  # type: ignore[call-overload]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, **who)  # type: ignore[call-overload]
        try:
            _make_database(port, process, folder / "log")
            yield Server(port)
        finally:
            process.send_signal(signal.SIGINT)  # a fast shutdown
            process.wait(_SECONDS)
    finally:
        shutil.rmtree(folder)


def _programs() -> Path | None:
    """The folder with the server's programs: of the PATH, else of Debian's, the newest."""
    found = shutil.which("initdb")
    places = [Path(found).resolve().parent] if found else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: -int(path.parent.name))
    return next((place for place in places if (place / "postgres").exists()), None)


def _make_database(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _SECONDS
    while True:
        assert process.poll() is None, log.read_text()
        try:
            connection = psycopg2.connect(
                host="127.0.0.1", port=port, user="dagster", password=PASSWORD, dbname="postgres"
            )
            break
        except psycopg2.OperationalError:
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
    with contextlib.closing(connection):
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("create database dagster")


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
