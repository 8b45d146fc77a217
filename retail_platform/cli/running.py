"""Dagster runs and work on the lake, on the terminal: what goes on while they run, and what a run came to."""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from retail_platform.cli.app import err, out
from retail_platform.cli.progress import Lines
from retail_platform.errors import RetailError
from retail_platform.settings import Settings

if TYPE_CHECKING:
    from retail_platform.defs.execution import CheckOutcome, RunOutcome
    from retail_platform.ingest.lake import Lake

_LOOK_SECONDS = 0.5


def drain(settings: Settings) -> RunOutcome:
    """Run the Dagster job that carries the stream, until Kafka is drained; its progress is shown."""
    from retail_platform.defs.execution import run_job
    from retail_platform.defs.stream import JOB

    _quieten()
    began = dt.datetime.now(dt.UTC)
    with _told(settings, "the stream", lambda: _stream_line(settings, began)):
        return run_job(settings, JOB)


def daily(settings: Settings, first: dt.date, last: dt.date) -> RunOutcome:
    """Run the daily job over the days from ``first`` to ``last``, as one run."""
    from retail_platform.defs.automation import DAILY_JOB
    from retail_platform.defs.execution import run_job

    _quieten()
    days = (last - first).days + 1
    with _told(settings, "load, dbt, checks, CSV", lambda: f"{days} day{'s' if days > 1 else ''}, {first} to {last}"):
        return run_job(settings, DAILY_JOB, dates=(first, last))


def customer_midnight(settings: Settings) -> RunOutcome:
    """Run the job that has every customer's segment decided by the marts just published."""
    from retail_platform.defs.execution import run_job
    from retail_platform.defs.reactions import MIDNIGHT_JOB

    _quieten()
    with _told(settings, "customer segments", lambda: ""):
        return run_job(settings, MIDNIGHT_JOB)


def lake_checks(settings: Settings) -> RunOutcome:
    """Run the checks on the lake as a whole."""
    from retail_platform.defs.automation import LAKE_CHECKS_JOB
    from retail_platform.defs.execution import run_job

    _quieten()
    with _told(settings, "checks on the lake", lambda: ""):
        return run_job(settings, LAKE_CHECKS_JOB)


def lake_work(settings: Settings, work: str, arguments: Mapping[str, Any], what: str, *, yes: bool) -> dict[str, Any]:
    """Ask (but for ``yes``), then have ``work`` done on the lake: by the running stream, else here with a Spark of our own.

    Raises:
        RetailError: there is no lake yet; or it failed, or cannot be done now.
        typer.Exit: the answer was no.
    """
    import typer

    from retail_platform.ingest.work import do_alone
    from retail_platform.lakehouse.lease import holder
    from retail_platform.lakehouse.location import lake
    from retail_platform.lakehouse.requests import have_done

    if not lake(settings).exists():
        raise RetailError(f"there is no lake in {lake(settings)} yet; run the stream first (`retail stream drain`)")
    if not yes and not typer.confirm("Do it?", err=True):
        raise typer.Exit(1)
    _quieten()

    def line() -> str:
        owner = holder(settings)
        return "" if owner is None or owner.pid == os.getpid() else f"asked of {owner}"

    with _told(settings, what, line):
        return have_done(settings, work, arguments, lambda: do_alone(settings, work, arguments))


def lake_alone_work(
    settings: Settings, what: str, work: Callable[[Lake], dict[str, Any]], *, yes: bool
) -> dict[str, Any]:
    """Ask (but for ``yes``), then do ``work`` on the lake under its lease, with a Spark of our own; no stream may run.

    Raises:
        RetailError: it failed, or somebody else writes the lake.
        typer.Exit: the answer was no.
    """
    import typer

    from retail_platform.ingest.work import lake_alone
    from retail_platform.lakehouse.lease import lake_lease

    with lake_lease(settings, what):
        pass  # before anybody is asked: is it free at all?
    if not yes and not typer.confirm("Do it?", err=True):
        raise typer.Exit(1)
    _quieten()
    with _told(settings, what, lambda: ""), lake_alone(settings, what) as lake:
        return work(lake)


def checks_table(checks: tuple[CheckOutcome, ...]) -> Table:
    """Every check with its answer; the failed ones first."""
    table = Table(
        title=f"Checks: {sum(check.passed for check in checks)} of {len(checks)} passed", title_justify="left"
    )
    for name in ("asset", "check", "", "said"):
        table.add_column(name)
    for check in sorted(checks, key=lambda check: (check.passed, check.asset, check.name)):
        mark = "[green]passed[/]" if check.passed else f"[red]{check.severity}[/]"
        table.add_row(check.asset, check.name, mark, escape(check.description or ""))
    return table


def say_failures(outcome: RunOutcome) -> None:
    """Print why the steps of a failed run failed."""
    for failure in outcome.failures:
        err.print(f"[red]failed[/] {escape(failure)}", soft_wrap=True)


def kpi_table(settings: Settings, dates: set[dt.date] | None = None) -> Table:
    """The daily KPI file, or the rows of ``dates``."""
    from retail_platform.warehouse.kpi_file import HEADER, read_daily

    table = Table(title=str(settings.kpi_csv), title_justify="left")
    for name in HEADER:
        table.add_column(name, justify="left" if name == "date" else "right")
    for row in read_daily(settings.kpi_csv):
        if dates is None or row.date in dates:
            average = "" if row.avg_order_value_usd is None else f"{row.avg_order_value_usd:,.2f}"
            latency = "" if row.streaming_latency_ms is None else f"{row.streaming_latency_ms:,}"
            table.add_row(str(row.date), f"{row.orders:,}", f"{row.revenue_usd:,.2f}", average, latency)
    return table


def print_table(table: Table) -> None:
    """A table on standard output."""
    out.print(table)


def _quieten() -> None:
    """Dagster's beta notices and PySpark's chatter are not for who uses the command line."""
    import dagster as dg

    for category in (dg.BetaWarning, dg.PreviewWarning):
        warnings.filterwarnings("ignore", category=category)
    logging.getLogger("py4j").setLevel(logging.ERROR)


def _stream_line(settings: Settings, began: dt.datetime) -> str:
    from retail_platform.lakehouse.heartbeat import read_heartbeat

    beat = read_heartbeat(settings)
    if beat is None or beat.started_at < began:
        return "starting Spark"
    if not beat.queries:
        return "opening the tables"
    return " · ".join(
        f"{query.name.split('/')[-1]} {query.rows:,} ({query.rows_per_second:,.0f}/s)" for query in beat.queries
    )


@contextlib.contextmanager
def _told(settings: Settings, what: str, line: Callable[[], str]) -> Iterator[None]:
    """Show ``what``, how long it has taken, and what ``line()`` says now, until the work is done."""
    done = threading.Event()
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[line]}"),
    )
    with (
        _output_kept(settings.logs_dir / "runs.log") as terminal,
        Progress(*columns, console=terminal, transient=False) as progress,
    ):
        task, lines = progress.add_task(what, total=1, line=""), Lines(terminal)

        def look() -> None:
            while not done.wait(_LOOK_SECONDS):
                said = line()
                progress.update(task, line=said)
                lines(f"{what}: {said}" if said else what)

        teller = threading.Thread(target=look, daemon=True)
        teller.start()
        try:
            yield
        finally:
            done.set()
            teller.join()
            progress.update(task, completed=1, line=line())


@contextlib.contextmanager
def _output_kept(log: Path) -> Iterator[Console]:
    """What Spark and dbt print goes to ``log``; yields a console that is still the terminal's standard error."""
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(number) for number in (1, 2)]
    with log.open("a") as file, os.fdopen(os.dup(2), "w") as terminal:
        for number in (1, 2):
            os.dup2(file.fileno(), number)
        try:
            yield Console(file=terminal, highlight=False, width=err.width)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, before in enumerate(kept, start=1):
                os.dup2(before, number)
                os.close(before)
