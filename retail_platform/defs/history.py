"""Dagster's history in PostgreSQL, where several containers share it, and the runs that a dead code server left in it."""

import contextlib
import os
import signal
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.storage.tags import GRPC_INFO_TAG

from retail_platform.errors import RetailError
from retail_platform.lakehouse.heartbeat import INGEST, Heartbeat, read_heartbeat
from retail_platform.lakehouse.lease import holder
from retail_platform.lakehouse.requests import ask_to_stop
from retail_platform.reactions.applications import APPLICATIONS
from retail_platform.settings import Settings

_PASSWORD = "DAGSTER_POSTGRES_PASSWORD"  # noqa: S105  the variable's name
_CONNECT_SECONDS = 10
_CARRIED = [
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def postgres_storage(settings: Settings) -> dict[str, Any]:
    """The ``storage`` block of ``dagster.yaml``; the password stays in the environment."""
    return {
        "postgres": {
            "postgres_db": {
                # Named, since SQLAlchemy 2.1 would take another driver than the one that comes with dagster-postgres.
                "scheme": "postgresql+psycopg2",
                "hostname": settings.dagster_postgres_host,
                "port": settings.dagster_postgres_port,
                "db_name": settings.dagster_postgres_db,
                "username": settings.dagster_postgres_user,
                "password": {"env": _PASSWORD},
                "params": {"sslmode": settings.dagster_postgres_sslmode},
            }
        }
    }


def postgres_environment(settings: Settings) -> dict[str, str]:
    """What the block refers to, for processes whose settings come from a file."""
    password = settings.dagster_postgres_password
    return {} if password is None else {_PASSWORD: password.get_secret_value()}


def require_postgres(settings: Settings) -> None:
    """Connect once, for one line where Dagster would print its retries.

    Raises:
        RetailError: it does not answer, or refuses the user or the database.
    """
    import psycopg2

    try:
        psycopg2.connect(
            host=settings.dagster_postgres_host,
            port=settings.dagster_postgres_port,
            dbname=settings.dagster_postgres_db,
            user=settings.dagster_postgres_user,
            sslmode=settings.dagster_postgres_sslmode,
            connect_timeout=_CONNECT_SECONDS,
            password=postgres_environment(settings).get(_PASSWORD),
        ).close()
    except psycopg2.OperationalError as error:
        raise RetailError(
            f"Dagster's PostgreSQL at {settings.dagster_postgres_host}:{settings.dagster_postgres_port} cannot be used "
            f"({' '.join(str(error).split())}); mend it, or the DAGSTER_POSTGRES_… settings"
        ) from None


def end_orphans(instance: dg.DagsterInstance) -> list[str]:
    """End the runs that a code server carried which is gone; the ids of those runs.

    For the start of the one code server, before it takes runs: whatever was launched through its predecessor died with
    its container, and Dagster, which cannot ask, would show it as running for ever and keep its pool taken.
    """
    ended = []
    for record in instance.get_run_records(dg.RunsFilter(statuses=_CARRIED)):
        run = record.dagster_run
        if GRPC_INFO_TAG not in run.tags:  # `retail run` carries its own
            continue
        said = "The code server that carried this run is gone, and the run with it."
        if run.status is dg.DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run, said)
        else:
            instance.report_run_failed(run, said)
        ended.append(run.run_id)
    return ended


def stop_streams_of(settings: Settings, run_ids: Collection[str]) -> list[str]:
    """Ask the streams that those runs carried to stop, where their processes live on; their names.

    A code server that is killed alone, without what it had started, leaves its runs' processes behind. They would work on
    for hours, in no run, and keep the lake from the stream that the supervisor starts next.
    """
    return stop_streams(settings, lambda beat: beat.run_id in run_ids)


def stop_streams(settings: Settings, chosen: Callable[[Heartbeat], bool]) -> list[str]:
    """Ask the streams whose heartbeat is ``chosen`` to stop between two batches, without waiting for it; their names."""
    stopped = []
    for stream in (INGEST, *(application.name for application in APPLICATIONS)):
        beat = read_heartbeat(settings, stream)
        if beat is None or not chosen(beat):
            continue
        if stream == INGEST and settings.stream_is_elsewhere:
            owner = holder(settings)
            if owner is not None and owner.pid == beat.pid:
                ask_to_stop(settings, owner)
                stopped.append(stream)
        elif _is_ours(beat.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(beat.pid, signal.SIGTERM)
                stopped.append(stream)
    return stopped


def _is_ours(pid: int) -> bool:
    """Whether the process runs a module of this package, which a reused process id does not: only where ``/proc`` tells."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return command[1:2] == [b"-m"] and any(word.startswith(b"retail_platform.") for word in command[2:3])
