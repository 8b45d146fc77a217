"""``retail dev``, ``doctor`` and ``reset``: run the platform under its UI, find what is wrong, start over."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Annotated

import typer
from rich.table import Table

from retail_platform.cli.app import app, err, out
from retail_platform.errors import RetailError
from retail_platform.lakehouse.heartbeat import Heartbeat
from retail_platform.settings import PROJECT_ROOT, Settings, child_environment, get_settings

_PANEL = "Operate"
_STOP_SECONDS = 150.0


@app.command(rich_help_panel=_PANEL)
def dev(port: Annotated[int, typer.Option(min=1024, max=65535, help="Port of the UI, on 127.0.0.1.")] = 3000) -> None:
    """The whole platform on this machine: Kafka, Dagster's UI and daemon, the stream kept alive. Ctrl-C stops all of it."""
    settings = get_settings()
    # A shell that starts us in the background has us ignore Ctrl-C, and all that we start after us.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with _only_one(settings):
        raise typer.Exit(_dev(settings, port))


def _dev(settings: Settings, port: int) -> int:
    from retail_platform.defs.execution import prepare_dagster_home
    from retail_platform.embedded.broker import EmbeddedBroker
    from retail_platform.kafka import ensure_topics
    from retail_platform.warehouse.dbt import dbt_manifest

    broker = EmbeddedBroker(settings) if settings.embedded_kafka else None
    ours = broker is not None and not broker.status().running
    if broker is not None:
        err.print("starting Kafka …")
        broker.start()
    try:
        ensure_topics(settings)
        home = prepare_dagster_home(settings)
        dbt_manifest(settings)
        err.print(
            f"Dagster's UI: [bold]http://127.0.0.1:{port}[/]   (Ctrl-C stops everything; state is in {settings.retail_home})"
        )
        return _dagster_dev(settings, str(home), port)
    finally:
        _stop_stream(settings)
        if broker is not None and ours:
            err.print("stopping Kafka …")
            broker.stop()


@contextlib.contextmanager
def _only_one(settings: Settings) -> Iterator[None]:
    """Two daemons on one DAGSTER_HOME fight over their heartbeats."""
    settings.control_dir.mkdir(parents=True, exist_ok=True)
    with (settings.control_dir / "dev.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RetailError(
                f"`retail dev` already runs on {settings.retail_home}; stop it, or set RETAIL_HOME"
            ) from None
        yield


def _dagster_dev(settings: Settings, home: str, port: int) -> int:
    """Run ``dagster dev`` in a session of its own until it ends or we are told to stop; then all of it is gone."""
    command = [sys.executable, "-m", "dagster", "dev", "-w", str(PROJECT_ROOT / "workspace.yaml")]
    command += ["-h", "127.0.0.1", "-p", str(port), "--log-level", "warning"]
    env = child_environment(settings) | {"DAGSTER_HOME": home, "PYTHONWARNINGS": "ignore"}
    if "dagster_ui_url" not in settings.model_fields_set:
        env["DAGSTER_UI_URL"] = f"http://127.0.0.1:{port}"
    # Not in the project's folder: Dagster warns of the dagster.yaml there, whose copy it already has.
    process = subprocess.Popen(command, env=env, cwd=home, start_new_session=True)
    try:
        return process.wait()
    except KeyboardInterrupt:
        err.print("stopping …")
        return 0
    finally:
        _end_session(settings, process)


def _end_session(settings: Settings, process: subprocess.Popen[bytes]) -> None:
    """Have Dagster and the streams end; then terminate, then kill what is there of the session, so that none is left.

    The streams are told themselves, so that their runs end well: Dagster's code server waits for its runs, and a run that is
    interrupted has failed. What a sensor still starts meanwhile is told as well.
    """
    from retail_platform.defs.history import stop_streams

    told: set[int] = set()
    telling = True

    def is_new(beat: Heartbeat) -> bool:
        known = beat.pid in told
        told.add(beat.pid)
        return not known

    for tell, number, seconds in (
        # The first process ends the others. Each that is interrupted itself would say so by a traceback.
        (os.kill, signal.SIGINT, 60.0),
        (os.killpg, signal.SIGTERM, 100.0),
        (os.killpg, signal.SIGKILL, 10.0),
    ):
        with contextlib.suppress(ProcessLookupError):
            tell(process.pid, number)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            process.poll()
            try:
                os.killpg(process.pid, 0)
            except ProcessLookupError:
                return
            if telling:
                try:
                    stop_streams(settings, is_new)
                except RetailError as error:  # a bucket out of reach keeps nothing here alive
                    err.print(f"the streams cannot be told to stop: {error}", markup=False, soft_wrap=True)
                    telling = False
            time.sleep(0.2)


def _stop_stream(settings: Settings) -> None:
    """Runs are processes of their own sessions; the stream that one carries stops by itself when it is told to."""
    from retail_platform.lakehouse.lease import holder
    from retail_platform.lakehouse.requests import ask_to_stop

    deadline = time.monotonic() + _STOP_SECONDS
    owner = holder(settings)
    if owner is None or owner.pid == 0:
        return
    err.print("stopping the stream between two batches …")
    ask_to_stop(settings, owner)
    while (now := holder(settings)) is not None and now.pid == owner.pid and time.monotonic() < deadline:
        time.sleep(0.2)


@app.command(rich_help_panel=_PANEL)
def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False) -> None:
    """What is wrong here, and how to mend it. Exit code 1 when something is."""
    from retail_platform.cli.examination import examine

    findings = examine(get_settings())
    if as_json:
        out.print_json(json.dumps([finding._asdict() for finding in findings]))
    else:
        table = Table()
        for name in ("", "what", "found", "mend"):
            table.add_column(name, overflow="fold")
        for finding in findings:
            table.add_row("[green]✓[/]" if finding.good else "[red]✗[/]", finding.what, finding.found, finding.mend)
        out.print(table)
    if not all(finding.good for finding in findings):
        raise typer.Exit(1)


@app.command(rich_help_panel=_PANEL)
def reset(yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Remove all state (Kafka's data, the lake, checkpoints, the warehouse, Dagster's history) and the results."""
    from retail_platform.embedded.broker import EmbeddedBroker
    from retail_platform.lakehouse.lease import holder
    from retail_platform.lakehouse.location import only_on_disk

    settings = get_settings()
    only_on_disk(settings, "`retail reset`")
    owner = holder(settings)
    if owner is not None:
        raise RetailError(f"{owner} writes the lake; stop it first (`retail stream stop`)")
    doomed = [path for path in (settings.retail_home, settings.kpi_csv, settings.marts_dir) if path.exists()]
    if not doomed:
        out.print("nothing to remove")
        return
    for path in doomed:
        out.print(f"  {path}", soft_wrap=True)
    if not yes and not typer.confirm("Remove all of this for good?"):
        raise typer.Exit(1)
    if settings.embedded_kafka:
        EmbeddedBroker(settings).stop()
    for path in doomed:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    out.print("removed")
