"""``retail chaos``: kill the pipeline on a schedule and prove what is left; see the verifier turn red where it must."""

from __future__ import annotations

import json
import logging
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from retail_platform.cli.app import app, err, out
from retail_platform.errors import RetailError
from retail_platform.settings import Settings, get_settings

if TYPE_CHECKING:
    from retail_platform.chaos.faults import Fault
    from retail_platform.chaos.finding import Verdict

chaos = typer.Typer(help="Prove that nothing is lost or counted twice, under kill -9.", no_args_is_help=True)
app.add_typer(chaos, name="chaos", rich_help_panel="Operate")

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Results = Annotated[Path | None, typer.Option(help="Add the result to this results file.")]
Home = Annotated[
    Path | None, typer.Option(help="Where the run keeps its broker, lake and ledger; .retail/chaos/SEED when left out.")
]


@chaos.command()
def run(
    seed: Annotated[int, typer.Option(help="Same seed, same schedule.")] = 1,
    faults: Annotated[int, typer.Option(help="How many faults.", min=1)] = 24,
    rate: Annotated[float, typer.Option(help="Events a second.", min=1)] = 300.0,
    minutes: Annotated[float | None, typer.Option(help="Begin no further fault after that.", min=0)] = None,
    checkpoints: Annotated[
        bool, typer.Option("--checkpoints", help="Instead: damage each checkpoint in each way.")
    ] = False,
    daily: Annotated[
        bool, typer.Option("--daily", help="Instead: kill the daily job at each of its points, beside the stream.")
    ] = False,
    dagster: Annotated[
        bool,
        typer.Option("--dagster", help="Instead: Dagster carries the driver; kill its daemon, its code server and it."),
    ] = False,
    reactions: Annotated[
        bool,
        typer.Option(
            "--reactions", help="Have the reactions run beside the driver, and kill one of them after each fault."
        ),
    ] = False,
    small_disk: Annotated[
        Path | None,
        typer.Option(help="Instead: fill this small disk, an empty mount point, which holds the lake; --faults times."),
    ] = None,
    with_broker: Annotated[
        bool, typer.Option("--with-broker", help="The small disk holds what the broker writes too.")
    ] = False,
    schedule: Annotated[Path | None, typer.Option(help="Play this schedule.json again instead.")] = None,
    home: Home = None,
    results: Results = None,
    as_json: Json = False,
) -> None:
    """Play a schedule of faults on a broker and a lake of its own, under load, then verify. Exit code 1 on a finding.

    The platform's own state is not touched.

    Example: [bold]retail chaos run --seed 7 --faults 40[/]
    """
    from retail_platform.chaos import nemesis
    from retail_platform.chaos import report as reports
    from retail_platform.chaos import schedule as schedules
    from retail_platform.chaos.stage import move_to_small_disk

    played: list[Fault] = schedules.damages() if checkpoints else schedules.schedule(seed, faults)
    if daily:
        played = schedules.daily_kills()
    if dagster:
        played = schedules.service_kills(seed)
    if small_disk is not None:
        played = schedules.full_disks(faults)
    if reactions:
        played = schedules.with_reaction_kills(played, seed)
    if schedule is not None:
        seed, rate, played = schedules.read(schedule)
    settings = _empty_home(home or get_settings().retail_home / "chaos" / str(seed))
    if small_disk is not None:
        move_to_small_disk(settings, small_disk.absolute(), broker=with_broker)
    _end_processes_when_told_to_stop()
    # What aiokafka logs while the broker is dead would bury the faults' own lines; the load says when it gives up.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    schedules.write(settings.retail_home / "schedule.json", seed, rate, played)

    def say(line: str) -> None:
        err.print(escape(line), soft_wrap=True)

    done = nemesis.play(settings, seed, rate, played, say, minutes)
    record = reports.described(done.record())
    if results is not None:
        reports.add(results, "runs", record)
    if as_json:
        out.print_json(json.dumps(record))
    else:
        of_reactions = f"{done.application_kills} of the reactions, " if done.application_kills else ""
        out.print(
            f"{done.kills} driver kills, {of_reactions}{len(done.events)} faults, {done.seconds:.0f} s; seed {seed}"
        )
    _say(done.verdict, as_json=as_json)


@chaos.command()
def verify(
    home: Annotated[Path, typer.Argument(help="The home of a chaos run that is quiet.")], as_json: Json = False
) -> None:
    """Compare the lake of a chaos home, and what its reactions said, with its ledger again. Exit code 1 on a finding."""
    from retail_platform.chaos.stage import at_home
    from retail_platform.chaos.verifier import verify as verified

    verdict = verified(at_home(get_settings(), home.absolute()))
    if as_json:
        out.print_json(json.dumps(verdict.record()))
    _say(verdict, as_json=as_json)


@chaos.command()
def controls(home: Home = None, results: Results = None, as_json: Json = False) -> None:
    """Do each wrong thing on purpose, on a copy of a real lake: the verifier must find every one. Exit code 1 if not."""
    from retail_platform.chaos import report as reports
    from retail_platform.chaos.controls import prove

    settings = _empty_home(home or get_settings().retail_home / "chaos" / "controls")
    _end_processes_when_told_to_stop()
    outcomes = prove(settings, lambda line: err.print(escape(line), soft_wrap=True))
    records = [outcome.record() for outcome in outcomes]
    if results is not None:
        reports.add(results, "controls", reports.described({"outcomes": records}))
    if as_json:
        out.print_json(json.dumps(records))
    for outcome in outcomes if not as_json else ():
        out.print(f"{'right' if outcome.right else 'WRONG'}  {outcome.name}: {escape(outcome.found)}", soft_wrap=True)
    if not all(outcome.right for outcome in outcomes):
        raise typer.Exit(1)


@chaos.command(hidden=True)
def report() -> None:
    """For developers: write docs/chaos.md from docs/chaos-results.json."""
    from retail_platform.chaos import report as results

    results.PAGE.write_text(results.page(results.read()), encoding="utf-8")


def _end_processes_when_told_to_stop() -> None:
    """SIGTERM, or SIGINT to a background job, unwinds as Ctrl-C does: the broker and the driver must not stay behind."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)


def _empty_home(home: Path) -> Settings:
    from retail_platform.chaos.stage import chaos_settings
    from retail_platform.lakehouse.location import only_on_disk

    only_on_disk(get_settings(), "`retail chaos`")
    home = home.absolute()
    if home.exists() and any(home.iterdir()):
        raise RetailError(f"{home} is not empty; remove it, or give another --home")
    return chaos_settings(get_settings(), home)


def _say(verdict: Verdict, *, as_json: bool) -> None:
    for finding in verdict.findings:
        err.print(f"[bold red]{escape(str(finding))}[/]", soft_wrap=True)
    if not as_json:
        out.print(", ".join(f"{name} {count:,}" for name, count in verdict.counts.items()), soft_wrap=True)
        out.print("every promise was kept" if verdict.kept else f"{len(verdict.findings)} promises were not kept")
    if not verdict.kept:
        raise typer.Exit(1)
