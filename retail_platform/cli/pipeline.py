"""``retail run``, ``kpis`` and ``demo``: the main job from the command line, through Dagster."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import json
import os
import time
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from retail_platform.cli.app import app, err, out
from retail_platform.errors import RetailError
from retail_platform.partitions import date_range
from retail_platform.settings import Settings, get_settings

if TYPE_CHECKING:
    from retail_platform.defs.execution import RunOutcome

_PANEL = "The daily numbers"

#: The demo's simulated trading day: the day after the sample's last, so that the whole demo is one range of days.
_SIMULATED_DAY = dt.datetime(2010, 12, 24, tzinfo=dt.UTC)
_SIMULATED_EVENTS = 20_000
_DEMO_DAYS = (dt.date(2010, 12, 1), dt.date(2010, 12, 24))

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


@app.command(rich_help_panel=_PANEL)
def run(
    from_: Annotated[dt.datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="First business date.")],
    to: Annotated[
        dt.datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Last one; --from when left out.")
    ] = None,
    no_drain: Annotated[
        bool, typer.Option("--no-drain", help="Take silver as it is; do not drain Kafka first.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Drain the stream, then load, dbt, checks and CSV for these days, through Dagster, without the UI.

    Example: [bold]retail run --from 2010-12-01 --to 2010-12-23[/]
    """
    from retail_platform.cli import running

    settings = get_settings()
    first, last = _days(settings, from_.date(), (to or from_).date())
    outcomes = [] if no_drain or _streaming(settings) else [running.drain(settings)]
    if all(outcome.success for outcome in outcomes):
        outcomes.append(running.daily(settings, first, last))
    if as_json:
        out.print_json(json.dumps([dataclasses.asdict(outcome) for outcome in outcomes]))
    else:
        _say(outcomes)
        running.print_table(running.kpi_table(settings, set(date_range(first, last))))
    _exit_unless_good(outcomes)


@app.command(rich_help_panel=_PANEL)
def kpis(as_json: Json = False) -> None:
    """Show the daily KPI file."""
    from retail_platform.cli import running
    from retail_platform.warehouse.kpi_file import read_daily

    settings = get_settings()
    rows = read_daily(settings.kpi_csv)
    if not rows:
        raise RetailError(f"{settings.kpi_csv} has no row yet; make some with `retail run --from DATE --to DATE`")
    if as_json:
        out.print_json(json.dumps([dataclasses.asdict(row) for row in rows], default=str))
    else:
        running.print_table(running.kpi_table(settings))


@app.command(rich_help_panel=_PANEL)
def demo(
    reactions: Annotated[
        bool, typer.Option("--reactions", help="Run the reactions beside the daily job, and show the first of each.")
    ] = False,
) -> None:
    """The main job on real data: Kafka, stream, lake, warehouse, dbt, checks, CSV. Ends with 0 only if every check passed.

    Replays the real December 2010, adds a simulated trading day with duplicates, late and malformed events, drains them
    with the Dagster-launched stream, and builds the days. A second run adds nothing and changes nothing.
    """
    from retail_platform.cli import first_reactions, running
    from retail_platform.embedded.broker import EmbeddedBroker
    from retail_platform.kafka import ensure_topics

    # So short a drain is over before the JVM's second compiler has paid for itself.
    os.environ.setdefault("SPARK_DRIVER_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1")
    settings = get_settings()
    times: dict[str, float] = {}
    with _timed(times, "Kafka up"):
        if settings.embedded_kafka:
            EmbeddedBroker(settings).start()
        ensure_topics(settings)
    with _timed(times, "events sent"):
        _send_demo(settings)
    outcomes = []
    with _timed(times, "stream drained"):
        if _streaming(settings):
            raise RetailError("a stream is running on this lake; stop it first (`retail stream stop`)")
        outcomes.append(running.drain(settings))
    with contextlib.ExitStack() as stack:
        # Beside the daily job and not the drain: that one keeps all cores busy, this one hardly more than one.
        reacting = stack.enter_context(first_reactions.reacting(settings)) if reactions else None
        if outcomes[-1].success:
            with _timed(times, "load, dbt, checks, CSV"):
                outcomes.append(running.daily(settings, *_DEMO_DAYS))
        if outcomes[-1].success:
            with _timed(times, "checks on the lake"):
                outcomes.append(running.lake_checks(settings))
        if reacting is not None and outcomes[-1].success:
            with _timed(times, "the first reactions"):
                outcomes.append(running.customer_midnight(settings))
                first_lines = reacting.first_lines()
        else:
            first_lines = ()
    _say(outcomes)
    if all(outcome.success for outcome in outcomes):
        for line in first_lines:
            out.print(line, soft_wrap=True)
        _show_demo(settings, outcomes, times)
    _exit_unless_good(outcomes)


def _send_demo(settings: Settings) -> None:
    from retail_platform.cli.producer import send_events
    from retail_platform.producer import online_retail
    from retail_platform.producer.simulator import Plan, simulate

    sample = online_retail.messages(online_retail.read(online_retail.sample_file()))
    send_events(settings, sample, len(sample), "real December 2010", speed=None)
    plan = Plan(
        start=_SIMULATED_DAY,
        events=_SIMULATED_EVENTS,
        seed=2010,
        duplicates=0.02,
        late=0.01,
        out_of_order=0.02,
        malformed=0.01,
        fraud=0.002,
    )
    send_events(settings, simulate(plan), plan.count, "a simulated trading day", speed=None)


def _show_demo(settings: Settings, outcomes: list[RunOutcome], times: dict[str, float]) -> None:
    from retail_platform.cli import running
    from retail_platform.lakehouse.quality import balance

    running.print_table(running.checks_table(tuple(check for outcome in outcomes for check in outcome.checks)))
    running.print_table(running.kpi_table(settings))
    counts = Table(title="Balance: bronze = silver + quarantine + duplicates", title_justify="left")
    for name in ("topic", "bronze", "silver events", "quarantine", "duplicates", "difference"):
        counts.add_column(name, justify="left" if name == "topic" else "right")
    for entry in balance(settings):
        numbers = (entry.bronze, entry.silver, entry.quarantine, entry.duplicates, entry.difference)
        if any(numbers):  # most of the reactions' topics are empty where none ran
            counts.add_row(entry.topic, *(f"{number:,}" for number in numbers))
    running.print_table(counts)
    spent = Table(title=f"Where the time went: {sum(times.values()):.0f} s", title_justify="left")
    spent.add_column("step")
    spent.add_column("seconds", justify="right")
    for name, seconds in times.items():
        spent.add_row(name, f"{seconds:.1f}")
    running.print_table(spent)
    out.print(
        f"Next: the CSV is [bold]{escape(str(settings.kpi_csv))}[/]; see all of it in Dagster's UI with [bold]make dev[/]; "
        "a table's history with [bold]retail lake history silver/transaction_lines[/]; what was refused and why with "
        "[bold]retail quarantine list[/]."
    )


def _say(outcomes: list[RunOutcome]) -> None:
    from retail_platform.cli import running

    for outcome in outcomes:
        running.say_failures(outcome)
        for check in outcome.checks:
            if not check.passed:
                err.print(f"[red]{check.severity}[/] {check.asset}: {check.name}: {escape(check.description or '')}")


def _exit_unless_good(outcomes: list[RunOutcome]) -> None:
    good = all(outcome.success and all(check.passed for check in outcome.checks) for outcome in outcomes)
    if not good:
        raise typer.Exit(1)


def _days(settings: Settings, first: dt.date, last: dt.date) -> tuple[dt.date, dt.date]:
    if last < first:
        raise typer.BadParameter(f"--to {last} is before --from {first}")
    if first < settings.partitions_start_date:
        raise typer.BadParameter(f"--from {first} is before PARTITIONS_START_DATE {settings.partitions_start_date}")
    return first, last


def _streaming(settings: Settings) -> bool:
    """Whether a stream writes the lake already: then there is nothing to drain, and nobody else may."""
    from retail_platform.lakehouse.lease import holder

    return holder(settings) is not None


class _timed:  # noqa: N801  (used as a statement)
    """Add the block's seconds to ``times`` under ``name``."""

    def __init__(self, times: dict[str, float], name: str) -> None:
        self._times, self._name = times, name

    def __enter__(self) -> None:
        self._began = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self._times[self._name] = time.monotonic() - self._began
