"""``retail kafka start | stop | status``: the embedded broker."""

from __future__ import annotations

import json
import time
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from retail_platform.cli.app import app, err, out
from retail_platform.errors import RetailError
from retail_platform.settings import Settings, get_settings

kafka = typer.Typer(no_args_is_help=True, help="The embedded Kafka broker: start it, stop it, look at it.")
app.add_typer(kafka, name="kafka", rich_help_panel="Operate")


@kafka.command()
def start() -> None:
    """Start the broker on 127.0.0.1 and create the topics; it goes on running after this command.

    Its data is below RETAIL_HOME, its port is KAFKA_EMBEDDED_PORT. Starting it twice changes nothing.
    """
    from retail_platform.embedded.broker import EmbeddedBroker

    settings = get_settings()
    broker = EmbeddedBroker(settings)
    before = broker.status()
    began = time.monotonic()
    with err.status("starting Kafka") as spinner:
        broker.start(lambda doing: spinner.update(escape(doing)))
    if before.running:
        out.print(f"Kafka runs already at [bold]{settings.bootstrap_servers}[/]")
    else:
        out.print(f"Kafka runs at [bold]{settings.bootstrap_servers}[/], ready in {time.monotonic() - began:.1f} s")


@kafka.command()
def stop() -> None:
    """Stop the broker; its topics and what is in them stay."""
    from retail_platform.embedded.broker import EmbeddedBroker

    broker = EmbeddedBroker(get_settings())
    was_running = broker.status().running
    with err.status("stopping Kafka"):
        broker.stop()
    out.print("Kafka is stopped" if was_running else "Kafka was not running")


@kafka.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
) -> None:
    """Whether Kafka answers, where, and what the topics hold. Exit code 1 when it does not answer."""
    from retail_platform import kafka as client

    settings = get_settings()
    trouble = client.trouble(settings, timeout_seconds=5)
    reachable = trouble is None
    report: dict[str, object] = {"bootstrap_servers": settings.bootstrap_servers, "reachable": reachable}
    if trouble and not settings.embedded_kafka:
        report["trouble"] = trouble
    if settings.embedded_kafka:
        report["broker"] = _broker(settings)
    if reachable:
        report["records"] = _records(settings)
    if as_json:
        out.print_json(json.dumps(report))
    else:
        out.print(_table(report))
    if not reachable:
        raise typer.Exit(1)


def _broker(settings: Settings) -> dict[str, object]:
    from retail_platform.embedded.broker import EmbeddedBroker

    found = EmbeddedBroker(settings).status()
    return {
        "running": found.running,
        "pid": found.pid,
        "port": found.port,
        "since": found.since.isoformat(timespec="seconds") if found.since else None,
        "data_dir": str(found.data_dir),
        "bytes": found.bytes,
    }


def _records(settings: Settings) -> dict[str, int] | str:
    """Records retained by topic, or why that cannot be told."""
    from retail_platform import kafka as client

    try:
        reach = client.offsets(settings, [contract.topic for contract in settings.topics])
    except RetailError as error:
        return str(error)
    return {topic: sum(last - first for first, last in places.values()) for topic, places in reach.items()}


def _table(report: dict[str, object]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    answers = "[green]answers[/]" if report["reachable"] else "[red]does not answer[/]"
    table.add_row("Kafka", f"{report['bootstrap_servers']} {answers}")
    if "trouble" in report:
        table.add_row("", escape(str(report["trouble"])))
    broker = report.get("broker")
    if isinstance(broker, dict):
        if broker["running"]:
            table.add_row("embedded broker", f"process {broker['pid']}, since {broker['since']}")
        else:
            table.add_row("embedded broker", "stopped; `retail kafka start` starts it")
        table.add_row("data", f"{escape(broker['data_dir'])} ({broker['bytes'] / 1024**2:,.1f} MB)")
    records = report.get("records")
    if isinstance(records, dict):
        for topic, count in records.items():
            table.add_row(escape(topic), f"{count:,} records")
    elif records is not None:
        table.add_row("topics", escape(str(records)))
    return table
