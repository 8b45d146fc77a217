"""``retail serve code | webserver | daemon``: Dagster's three processes, each in a container of its own."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from retail_platform.cli.app import app, err
from retail_platform.settings import PROJECT_ROOT, Settings, child_environment, get_settings

serve = typer.Typer(
    no_args_is_help=True, help="Dagster's processes one by one, for containers (`retail dev` is all in one)."
)
app.add_typer(serve, name="serve", rich_help_panel="Operate")

Host = Annotated[str, typer.Option(help="Address to listen on.")]
Port = Annotated[int, typer.Option(min=1024, max=65535, help="Port to listen on.")]
Workspace = Annotated[Path, typer.Option(exists=True, dir_okay=False, help="Names the code server's host and port.")]

_WORKSPACE = PROJECT_ROOT / "docker" / "workspace.yaml"


@serve.command()
def code(host: Host = "127.0.0.1", port: Port = 4000) -> None:
    """The code server: answers what there is, and carries the runs. There must be one only.

    It creates the topics, and ends the runs that the one before it left behind.
    """
    import dagster as dg

    from retail_platform.defs.execution import prepare_dagster_home
    from retail_platform.defs.history import end_orphans, stop_streams_of
    from retail_platform.kafka import ensure_topics
    from retail_platform.warehouse.dbt import dbt_manifest

    settings = get_settings()
    prepare_dagster_home(settings)
    with dg.DagsterInstance.get() as instance:
        left = end_orphans(instance)
    for run_id in left:
        err.print(f"run {run_id} was left behind by the code server before this one; it is ended")
    for stream in stop_streams_of(settings, left):
        err.print(f"the {stream} stream of such a run still works; it is told to stop")
    ensure_topics(settings)
    dbt_manifest(settings)
    module = ["-m", "retail_platform.definitions", "--location-name", "retail-platform"]
    _become(settings, "dagster", "code-server", "start", "--host", host, "--port", str(port), *module)


@serve.command()
def webserver(host: Host = "127.0.0.1", port: Port = 3000, workspace: Workspace = _WORKSPACE) -> None:
    """Dagster's UI. It asks nobody who they are: keep it on a loopback address, or behind a proxy with a login."""
    from retail_platform.defs.execution import prepare_dagster_home

    settings = get_settings()
    prepare_dagster_home(settings)
    _become(
        settings, "dagster_webserver", "--host", host, "--port", str(port), "--workspace", str(workspace.absolute())
    )


@serve.command()
def daemon(workspace: Workspace = _WORKSPACE) -> None:
    """Dagster's daemon: schedules, sensors, the queue of runs. There must be one only."""
    from retail_platform.defs.execution import prepare_dagster_home

    settings = get_settings()
    prepare_dagster_home(settings)
    _become(settings, "dagster._daemon", "run", "--workspace", str(workspace.absolute()))


def _become(settings: Settings, module: str, *arguments: str) -> NoReturn:
    """Replace this process, so that signals and exit code are Dagster's own."""
    # Not in the project's folder: Dagster warns of the dagster.yaml there, whose copy it already has.
    os.chdir(settings.dagster_home)
    os.execve(sys.executable, [sys.executable, "-m", module, *arguments], child_environment(settings))  # noqa: S606
