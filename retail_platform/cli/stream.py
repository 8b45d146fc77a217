"""``retail stream``: drain Kafka once, look at the running stream, stop it."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import time
from typing import Annotated

import typer
from rich.table import Table

from retail_platform.cli.app import app, err, out
from retail_platform.errors import RetailError
from retail_platform.settings import get_settings

stream = typer.Typer(help="The ingest stream: from Kafka into the lake.", no_args_is_help=True)
app.add_typer(stream, name="stream", rich_help_panel="Operate")

_STOP_SECONDS = 120.0


@stream.command()
def drain() -> None:
    """Take what Kafka holds into the lake, and end: the Dagster job, run once."""
    from retail_platform.cli import running

    outcome = running.drain(get_settings())
    running.say_failures(outcome)
    if not outcome.success:
        raise typer.Exit(1)


@stream.command()
def status(as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False) -> None:
    """What the stream is doing: its queries, their pace, what is still in Kafka. Exit code 1 when it is stuck or failed."""
    from retail_platform.lakehouse.heartbeat import read_heartbeat
    from retail_platform.lakehouse.lease import holder

    settings = get_settings()
    beat, owner = read_heartbeat(settings), holder(settings)
    if beat is None:
        raise RetailError(
            "no stream ever ran here; start one with `retail dev`, or drain once with `retail stream drain`"
        )
    state = beat.state
    if state in ("starting", "running", "stopping") and owner is None:
        state = "dead"
    if as_json:
        record = dataclasses.asdict(beat) | {"state": state, "stale": beat.stale, "lag": beat.lag}
        out.print_json(json.dumps(record, default=str))
    else:
        table = Table(title=f"{beat.mode}, {state}, last heard of {beat.age_seconds:.0f} s ago", title_justify="left")
        for name in ("query", "batch", "rows", "rows/s", "behind", "last batch (s)"):
            table.add_column(name, justify="left" if name == "query" else "right")
        for query in beat.queries:
            behind = "" if query.lag is None else f"{query.lag:,}"
            numbers = (f"{query.batch_id}", f"{query.rows:,}", f"{query.rows_per_second:,.0f}", behind)
            table.add_row(query.name, *numbers, f"{query.batch_seconds:.2f}")
        out.print(table)
        if beat.error:
            err.print(f"[red]{beat.error}[/]", soft_wrap=True)
    if state in ("failed", "dead") or beat.stale:
        raise typer.Exit(1)


@stream.command()
def stop() -> None:
    """Stop the running stream between two batches. Under `retail dev`, turn the supervisor sensor off first."""
    from retail_platform.lakehouse.lease import holder

    settings = get_settings()
    owner = holder(settings)
    if owner is None:
        out.print("no stream is running")
        return
    os.kill(owner.pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_SECONDS
    while holder(settings) == owner or ((now := holder(settings)) is not None and now.pid == owner.pid):
        if time.monotonic() > deadline:
            raise RetailError(f"process {owner.pid} has not stopped within {_STOP_SECONDS:.0f} s; end it with kill -9")
        time.sleep(0.2)
    out.print(f"stopped {owner.owner} (process {owner.pid})")
