"""``retail stream``: drain Kafka once, look at the running stream, stop it, mend it."""

from __future__ import annotations

import dataclasses
import json
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from retail_platform.cli.app import app, err, out
from retail_platform.errors import RetailError
from retail_platform.settings import Settings, get_settings

if TYPE_CHECKING:
    from retail_platform.lakehouse.losses import Repair

stream = typer.Typer(help="The ingest stream: from Kafka into the lake.", no_args_is_help=True)
app.add_typer(stream, name="stream", rich_help_panel="Operate")

_STOP_SECONDS = 120.0

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Json = Annotated[bool, typer.Option("--json", help="Print it as JSON.")]


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
    needed = () if owner else _repairs(settings)
    for entry in needed:
        err.print(f"[red]{escape(entry.what)}[/]: `{entry.command}`", soft_wrap=True)
    if state in ("failed", "dead") or beat.stale or needed:
        raise typer.Exit(1)


def _repairs(settings: Settings) -> list[Repair]:
    from retail_platform.lakehouse.losses import repairs

    try:
        return repairs(settings)
    except RetailError as error:
        err.print(f"not compared with Kafka: {escape(str(error))}", soft_wrap=True)
        return []


@stream.command()
def recover(
    every: Annotated[bool, typer.Option("--all", help="Also the queries whose checkpoint looks well.")] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """A checkpoint is lost, damaged or older than its table: new ones, from what the lake holds. The stream must be stopped.

    Nothing is read twice or left out, and the old checkpoints are moved aside, not deleted. For one
    INGEST_DEDUPE_HORIZON_MINUTES after it every event is looked up in silver, so batches are slower.
    """
    from retail_platform.cli.running import lake_alone_work
    from retail_platform.ingest import recovery
    from retail_platform.lakehouse.checkpoints import misfits, newest_writers
    from retail_platform.lakehouse.location import only_on_disk

    settings = get_settings()
    only_on_disk(settings, "`retail stream recover`")
    unfit = misfits(settings, newest_writers(settings))
    for entry in unfit:
        err.print(f"  {escape(entry.why)}", soft_wrap=True)
    if not unfit and not every:
        out.print(
            "every checkpoint fits the lake; nothing to do (a damaged dedupe state shows only when it is read: --all)"
        )
        return
    err.print("new checkpoints for " + ("every query" if every else ", ".join(entry.query_name for entry in unfit)))
    done = lake_alone_work(
        settings, "stream recovery", lambda lake: recovery.recover(lake, settings, everything=every), yes=yes
    )
    _say_renewed(done, as_json=as_json)


@stream.command(name="accept-loss")
def accept_loss(
    reason: Annotated[str | None, typer.Option(help="Why; kept with the loss in ops/lost_offsets.")] = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Kafka deleted records before they were read: go on without them, and keep what is missing in ops/lost_offsets.

    The stream must be stopped. What silver has not read and bronze has is taken from bronze.
    """
    from retail_platform import kafka
    from retail_platform.cli.running import lake_alone_work
    from retail_platform.ingest import recovery
    from retail_platform.lakehouse.location import only_on_disk
    from retail_platform.lakehouse.losses import holes
    from retail_platform.lakehouse.reading import ledger

    settings = get_settings()
    only_on_disk(settings, "`retail stream accept-loss`")
    reach = kafka.offsets(settings, [contract.topic for contract in settings.topics])
    missing = holes(settings, ledger(settings), reach)
    if not missing:
        out.print("Kafka has everything that was not read; nothing is lost")
        return
    table = Table(title="Left Kafka unread, by query", title_justify="left")
    for name in ("query", "topic", "partition", "first offset", "last offset", "offsets"):
        table.add_column(name, justify="left" if name in ("query", "topic") else "right")
    for hole in missing:
        numbers = (hole.partition, hole.first, hole.last, hole.last - hole.first + 1)
        table.add_row(hole.query_name, hole.topic, *(f"{number:,}" for number in numbers))
    err.print(table)
    done = lake_alone_work(
        settings, "accepting the loss", lambda lake: recovery.accept_loss(lake, settings, reason), yes=yes
    )
    _say_renewed(done, as_json=as_json)


def _say_renewed(done: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        out.print_json(json.dumps(done))
        return
    for path in done["aside"]:
        out.print(f"moved aside: {path}", soft_wrap=True)
    for hole in done["lost"]:
        out.print(f"entered into ops/lost_offsets: {hole}", soft_wrap=True)
    out.print(f"new checkpoints for {', '.join(done['queries'])}; start the stream")


@stream.command()
def stop() -> None:
    """Stop the running stream between two batches. Under `retail dev`, turn the supervisor sensor off first."""
    from retail_platform.lakehouse.control import control
    from retail_platform.lakehouse.lease import holder
    from retail_platform.lakehouse.requests import ask_to_stop

    settings = get_settings()
    owner = holder(settings)
    if owner is None:
        out.print("no stream is running")
        return
    ask_to_stop(settings, owner)
    deadline = time.monotonic() + _STOP_SECONDS
    while holder(settings) == owner or ((now := holder(settings)) is not None and now.pid == owner.pid):
        if time.monotonic() > deadline:
            mend = "end it with kill -9" if owner.host is None else "cancel its job run"
            raise RetailError(f"{owner} has not stopped within {_STOP_SECONDS:.0f} s; {mend}")
        time.sleep(control(settings).look_seconds)
    out.print(f"stopped {owner}")
