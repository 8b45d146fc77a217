"""``retail replay`` and ``retail simulate``: put events into Kafka, from a file or from an invented retailer."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from retail_platform.cli.app import app, err, out
from retail_platform.cli.progress import Lines
from retail_platform.errors import RetailError
from retail_platform.partitions import business_date
from retail_platform.settings import Settings, get_settings

if TYPE_CHECKING:
    from retail_platform.producer.message import Message
    from retail_platform.producer.online_retail import Invoices
    from retail_platform.producer.send import SendReport
    from retail_platform.producer.simulator import Plan

_PANEL = "Events"
_SHOWN_BROKEN_ROWS = 10
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DEFAULT_RATE = 100.0
_DEFAULT_EVENTS = 20_000


class Format(StrEnum):
    """Formats that can be replayed."""

    ONLINE_RETAIL = "online-retail"


def _speed(text: str) -> float | None:
    if text == "max":
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise typer.BadParameter("give max, or how many times faster than real time, e.g. 60")
    return value


def _duration(text: str) -> dt.timedelta:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    if not match or not float(match[1]):
        raise typer.BadParameter("give a number and a unit, e.g. 90s, 10m, 24h or 7d")
    return dt.timedelta(seconds=float(match[1]) * _UNITS[match[2]])


Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]


@app.command(rich_help_panel=_PANEL)
def replay(
    file: Annotated[Path | None, typer.Argument(help="A CSV file, gzipped or not.", show_default=False)] = None,
    format_: Annotated[Format, typer.Option("--format", help="What the file is.")] = Format.ONLINE_RETAIL,
    sample: Annotated[bool, typer.Option("--sample", help="Replay the December 2010 that comes along.")] = False,
    speed: Annotated[str, typer.Option(help="max, or N times real time.")] = "max",
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 when a row was broken.")] = False,
    as_json: Json = False,
) -> None:
    """Replay a file of real transactions into Kafka.

    Sending the same file again changes nothing downstream: an event's id derives from its invoice.

    Broken rows are listed with their line numbers, counted, and left out.

    Examples: [bold]retail replay --sample[/] or [bold]retail replay 2011-01.csv --speed 3600[/]
    """
    del format_  # one format so far: Typer has checked it
    pace = _speed(speed)
    if (file is None) != sample:
        raise typer.BadParameter("give either a FILE or --sample")

    from retail_platform.producer import online_retail

    path = file or online_retail.sample_file()
    invoices = online_retail.read(path)
    events = online_retail.messages(invoices)
    _say_broken(path, invoices)
    report = send_events(get_settings(), events, len(events), f"replaying {path.name}", speed=pace)
    if as_json:
        broken = [{"line": line, "reason": reason} for line, reason in invoices.broken]
        out.print_json(json.dumps(dataclasses.asdict(report) | {"rows": invoices.rows, "broken_rows": broken}))
    else:
        _show(report, {"rows read": invoices.rows, "broken rows": len(invoices.broken)})
    _finish(report, failed=strict and bool(invoices.broken))


@app.command(rich_help_panel=_PANEL)
def simulate(
    rate: Annotated[float | None, typer.Option(help="Events a second; 100 when live.", min=0.001)] = None,
    duration: Annotated[str | None, typer.Option(help="How long, e.g. 90s, 10m, 24h. 1m live, 24h of a day.")] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same retailer, same events.")] = 0,
    stores: Annotated[int, typer.Option(help="Stores, besides the web shop.", min=1)] = 20,
    customers: Annotated[int, typer.Option(help="Customers with an account.", min=1)] = 20_000,
    products: Annotated[int, typer.Option(help="Products in the catalogue.", min=1)] = 500,
    start: Annotated[str, typer.Option(help="now, or a date (or date and time) to simulate.")] = "now",
    events: Annotated[int | None, typer.Option(help="How many events, instead of a rate.", min=1)] = None,
    speed: Annotated[
        str | None, typer.Option(help="max, or N times real time. Live: 1; with max, the time up to now.")
    ] = None,
    duplicates: Annotated[float, typer.Option(help="Share sent twice.", min=0, max=1)] = 0.0,
    late: Annotated[float, typer.Option(help="Share sent hours after their time.", min=0, max=1)] = 0.0,
    out_of_order: Annotated[float, typer.Option(help="Share overtaken by others.", min=0, max=1)] = 0.0,
    malformed: Annotated[float, typer.Option(help="Share sent broken.", min=0, max=1)] = 0.0,
    fraud: Annotated[float, typer.Option(help="Share that is fraud.", min=0, max=1)] = 0.0,
    truth: Annotated[Path | None, typer.Option(help="Write which events are fraud here, as JSON lines.")] = None,
    as_json: Json = False,
) -> None:
    """Simulate a retailer: sales, returns, stock movements, into Kafka.

    Live by default: events happen now, evenly, at --rate.

    With --start DATE, a day (or --duration) of trade along each store's opening hours, sent at once.

    Example, live: [bold]retail simulate --rate 500 --duration 10m[/]

    Example, a day: [bold]retail simulate --start 2026-03-02 --events 20000 --duplicates 0.02 --malformed 0.01[/]
    """
    from retail_platform.producer.simulator import simulate as messages

    settings = get_settings()
    plan = _plan(
        settings,
        start=start,
        duration=_duration(duration) if duration else None,
        rate=rate,
        events=events,
        at_once=speed == "max",
        seed=seed,
        stores=stores,
        customers=customers,
        products=products,
        duplicates=duplicates,
        late=late,
        out_of_order=out_of_order,
        malformed=malformed,
        fraud=fraud,
    )
    pace = _speed(speed or ("1" if plan.live else "max"))
    if plan.live and pace != 1:
        raise typer.BadParameter("live events come at --speed 1; use max for the time up to now, or give --start DATE")
    with _truth_file(truth) as on_acknowledged:
        report = send_events(
            settings, messages(plan), plan.count, "simulating", speed=pace, on_acknowledged=on_acknowledged
        )
    if as_json:
        out.print_json(json.dumps(dataclasses.asdict(report) | {"seed": seed, "start": plan.start.isoformat()}))
    else:
        _show(report, {"from": f"{plan.start:%Y-%m-%d %H:%M %Z}", "over": str(plan.duration)})
    _finish(report)


def _plan(
    settings: Settings,
    *,
    start: str,
    duration: dt.timedelta | None,
    rate: float | None,
    events: int | None,
    at_once: bool,
    **sizes: Any,
) -> Plan:
    """The plan that the options mean.

    Raises:
        RetailError: the options contradict each other, or ingest would refuse every event.
    """
    from retail_platform.producer.simulator import Plan

    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    zone = ZoneInfo(settings.business_timezone)
    if events is not None and rate is not None and duration is not None:
        raise RetailError("--events, --rate and --duration say too much; leave one of them out")
    if start == "now" and not at_once:
        pace = rate or (events / duration.total_seconds() if events and duration else _DEFAULT_RATE)
        length = duration or (dt.timedelta(seconds=events / pace) if events else dt.timedelta(minutes=1))
        count = events or round(pace * length.total_seconds())
        return Plan(start=now.astimezone(zone), duration=length, events=count, live=True, **sizes)
    if events is not None and rate is not None:
        raise RetailError("--events and --rate contradict each other when a day is simulated; give one of them")
    length = duration or dt.timedelta(days=1)
    begins = (now - length).astimezone(zone) if start == "now" else _moment(start, zone)
    if business_date(begins, settings) < settings.partitions_start_date:
        raise RetailError(
            f"--start {start} is before PARTITIONS_START_DATE={settings.partitions_start_date}; lower that"
        )
    if begins + length > now:
        raise RetailError(f"--start {start} for {length} ends in the future; start earlier or shorten --duration")
    how_many = events if events or rate else _DEFAULT_EVENTS
    return Plan(start=begins, duration=length, events=how_many, rate=rate, **sizes)


def _moment(text: str, zone: ZoneInfo) -> dt.datetime:
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter("give --start as now, 2026-03-02 or 2026-03-02T09:00:00") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=zone)


def send_events(
    settings: Settings,
    messages: Iterable[Message],
    total: int,
    title: str,
    *,
    speed: float | None,
    on_acknowledged: Callable[[Message, int, int], None] | None = None,
) -> SendReport:
    """Create the topics where needed and send the messages, under a progress bar on standard error.

    ``total`` is their expected number, ``speed`` how many times real time, ``None`` as fast as they go.

    Raises:
        RetailError: Kafka does not answer, or stopped answering.
    """
    from retail_platform.kafka import ensure_topics
    from retail_platform.producer.send import send

    ensure_topics(settings, settings.source_topics)  # of the others a producer need not know
    # What aiokafka logs while a broker is away, the progress bar and the final error say in one line.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
    with Progress(*columns, TimeElapsedColumn(), console=err, transient=True) as progress:
        task, lines = progress.add_task(title, total=total, rate=""), Lines(err)

        def on_progress(acknowledged: int) -> None:
            elapsed = progress.tasks[task].elapsed or 0
            rate = f"{acknowledged / elapsed:,.0f}/s" if elapsed else ""
            progress.update(task, completed=acknowledged, rate=rate, total=max(total, acknowledged))
            lines(f"{title}: {acknowledged:,} of about {total:,}, {rate}")

        return send(settings, messages, on_progress=on_progress, speed=speed, on_acknowledged=on_acknowledged)


@contextmanager
def _truth_file(path: Path | None) -> Iterator[Callable[[Message, int, int], None] | None]:
    """What writes the truth about each fraud that Kafka acknowledged to the file; ``None`` without a file."""
    from retail_platform.producer.simulator.fraud import truth

    if path is None:
        yield None
        return
    try:
        stream = path.open("w", encoding="utf-8", buffering=1)  # a live simulation is looked at while it runs
    except OSError as error:
        raise RetailError(f"--truth {path} cannot be written ({error.strerror}); give another path") from error
    with stream:

        def write(message: Message, _partition: int, _offset: int) -> None:
            entry = truth(message)
            if entry is not None:
                stream.write(entry + "\n")

        yield write


def _say_broken(path: Path, invoices: Invoices) -> None:
    for line, reason in invoices.broken[:_SHOWN_BROKEN_ROWS]:
        err.print(f"[yellow]{escape(path.name)} line {line}:[/] {escape(reason)}", soft_wrap=True)
    more = len(invoices.broken) - _SHOWN_BROKEN_ROWS
    if more > 0:
        err.print(f"[yellow]… and {more} more broken rows[/]; --json lists them all")


def _show(report: SendReport, about: dict[str, object]) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    for name, value in about.items():
        table.add_row(name, f"{value:,}" if isinstance(value, int) else str(value))
    table.add_row("events sent", f"{report.sent:,}")
    table.add_row("acknowledged", f"{report.acknowledged:,}")
    table.add_row("took", f"{report.seconds:,.1f} s")
    table.add_row("rate reached", f"{report.rate:,.0f} events/s")
    for label, count in report.labels.items():
        table.add_row(f"  {label}", f"{count:,}", style="dim")
    out.print(table)


def _finish(report: SendReport, *, failed: bool = False) -> None:
    """Exit as the report deserves: 130 after Ctrl-C, 1 when the broker refused events or ``failed``."""
    if report.failed:
        err.print(f"[bold red]{report.failed:,} events were refused:[/] {escape('; '.join(report.refused))}")
    if report.interrupted:
        err.print("[yellow]stopped before the end; what was acknowledged is in Kafka[/]")
        raise typer.Exit(130)
    if report.failed or failed:
        raise typer.Exit(1)
