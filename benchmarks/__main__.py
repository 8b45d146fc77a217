"""``python -m benchmarks [NAME | all | render]``; without a name, all."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from benchmarks import report, results
from benchmarks.machine import await_quiet
from benchmarks.progress import err, say
from retail_platform.errors import RetailError
from retail_platform.settings import PROJECT_ROOT

# What needs a machine to itself longest comes last.
NAMES = (
    "startup",
    "fraud",
    "daily",
    "memory",
    "demo",
    "freshness",
    "reactions",
    "reactions_metrics",
    "reactions_together",
    "reactions_state",
    "reactions_burst",
    "reactions_rate",
    "single_process",
    "drain",
    "scaling",
    "growth",
    "hostile",
    "burst",
    "soak",
)

app = typer.Typer(
    name="python -m benchmarks",
    pretty_exceptions_enable=False,
)

Events = Annotated[int, typer.Option(min=1000, help="Events in the preloaded topic.")]
WarmUp = Annotated[float, typer.Option(min=0, help="Seconds of work before anything is timed.")]
Rate = Annotated[float, typer.Option(min=1, help="Sales a second.")]
Measured = Annotated[float, typer.Option(min=5, help="Seconds that are measured.")]
Alone = Annotated[bool, typer.Option("--alone", help="Without the ingest beside it.")]
Trial = Annotated[bool, typer.Option("--trial", help="Print the result; record and render nothing.")]


@app.callback(invoke_without_command=True)
def benchmarks(context: typer.Context) -> None:
    """Measure this machine: one benchmark, or all of them (some hours).

    Results go to benchmarks/results.json and docs/benchmarks.md. Give it a machine with nothing else to do.
    """
    # A benchmark that is told to end (by a time-out) ends what it has started: its broker, its ingest.
    signal.signal(signal.SIGTERM, _end)
    # A shell that starts us in the background has us ignore Ctrl-C, and all that we start, which is ended by it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if context.invoked_subcommand is None:
        everything()


@app.command()
def drain(events: Events = 1_000_000, warm_up_seconds: WarmUp = 90, trial: Trial = False) -> None:
    """Events a second of the whole ingest, beside two minimal streams."""
    from benchmarks import drain as benchmark

    _run("drain", lambda: benchmark.measure(events, warm_up_seconds), trial)


@app.command()
def scaling(
    events: Annotated[int, typer.Option(min=1000, help="Events in each topic.")] = 300_000,
    warm_up_seconds: WarmUp = 90,
    trial: Trial = False,
) -> None:
    """The drain on one core and on two, from one partition and from four."""
    from benchmarks import scaling as benchmark

    _run("scaling", lambda: benchmark.measure(events, warm_up_seconds), trial)


@app.command("single_process")
def single_process(events: Events = 1_000_000, warm_up_seconds: WarmUp = 90, trial: Trial = False) -> None:
    """The whole ingest beside one Python process: events a second, CPU seconds."""
    from benchmarks import single_process as benchmark

    _run("single_process", lambda: benchmark.measure(events, warm_up_seconds), trial)


@app.command()
def freshness(
    rate: Annotated[float, typer.Option(min=1, help="Events a second.")] = 1000,
    seconds: Measured = 120,
    warm_up_seconds: WarmUp = 270,
    trial: Trial = False,
) -> None:
    """From Kafka's append to the row in silver, under a steady load."""
    from benchmarks import freshness as benchmark

    _run("freshness", lambda: benchmark.measure(rate, seconds, warm_up_seconds), trial)


@app.command()
def reactions(
    rate: Rate = 1000,
    seconds: Measured = 60,
    warm_up_seconds: WarmUp = 90,
    alone: Alone = False,
    trial: Trial = False,
) -> None:
    """From a sale to its alert and stock level, under a steady load."""
    from benchmarks import reactions as benchmark

    _run("reactions", lambda: benchmark.steady(rate, seconds, warm_up_seconds, beside=not alone), trial)


@app.command("reactions_metrics")
def reactions_metrics(
    rate: Rate = 1000,
    seconds: Measured = 60,
    warm_up_seconds: WarmUp = 90,
    alone: Alone = False,
    trial: Trial = False,
) -> None:
    """From a sale to the live metrics that it changes, under a steady load."""
    from benchmarks import reactions as benchmark
    from retail_platform.reactions.applications import METRICS

    def run() -> dict[str, Any]:
        return benchmark.steady(rate, seconds, warm_up_seconds, beside=not alone, application=METRICS)

    _run("reactions_metrics", run, trial)


@app.command("reactions_together")
def reactions_together(
    rate: Rate = 400,
    seconds: Measured = 60,
    warm_up_seconds: WarmUp = 90,
    history: Annotated[int, typer.Option(min=1000, help="Sales of the last 20 days in the states before.")] = 150_000,
    trial: Trial = False,
) -> None:
    """All applications and the ingest side by side, with a model and full states, under a steady load."""
    from benchmarks import reactions as benchmark

    _run("reactions_together", lambda: benchmark.together(rate, seconds, warm_up_seconds, history), trial)


@app.command("reactions_state")
def reactions_state(
    cards: Annotated[int, typer.Option(min=1000, help="Cards in the state before.")] = 1_000_000,
    rate: Rate = 1000,
    seconds: Measured = 60,
    alone: Alone = False,
    trial: Trial = False,
) -> None:
    """The same with a million cards and 200,000 stocks in the state."""
    from benchmarks import reactions as benchmark

    _run("reactions_state", lambda: benchmark.steady(rate, seconds, 60, beside=not alone, cards=cards), trial)


@app.command("reactions_burst")
def reactions_burst(
    rate: Annotated[float, typer.Option(min=10, help="Sales a second before and after.")] = 500,
    high: Annotated[float, typer.Option(min=10, help="Sales a second in the burst.")] = 5000,
    seconds: Annotated[float, typer.Option(min=5, help="Seconds that the burst lasts.")] = 60,
    after_seconds: Annotated[float, typer.Option(min=5, help="Seconds to come back in.")] = 400,
    alone: Alone = False,
    trial: Trial = False,
) -> None:
    """The reactions in a burst: nothing lost, and when are they as quick as before?"""
    from benchmarks import reactions as benchmark

    _run("reactions_burst", lambda: benchmark.burst(rate, high, seconds, after_seconds, beside=not alone), trial)


@app.command("reactions_rate")
def reactions_rate(
    seconds: Annotated[float, typer.Option(min=5, help="Seconds that each rate is tried.")] = 30, trial: Trial = False
) -> None:
    """The highest rate that one process of the reactions keeps up with, and two."""
    from benchmarks import reactions as benchmark

    _run("reactions_rate", lambda: benchmark.highest_rate(seconds), trial)


@app.command()
def growth(
    small_rows: Annotated[int, typer.Option(min=1000, help="Lines in the small silver table.")] = 200_000,
    large_rows: Annotated[int, typer.Option(min=1000, help="Lines in the large one.")] = 5_000_000,
    batch_events: Annotated[int, typer.Option(min=100, help="Events a batch.")] = 2_000,
    batches: Annotated[int, typer.Option(min=2, max=90, help="Batches of each kind, twice.")] = 12,
    trial: Trial = False,
) -> None:
    """What a batch costs as silver grows, for events on time and late ones."""
    from benchmarks import growth as benchmark

    _run("growth", lambda: benchmark.measure(small_rows, large_rows, batch_events, batches), trial)


@app.command()
def daily(
    days: Annotated[int, typer.Option(min=2, max=31, help="Days that are run one by one.")] = 3, trial: Trial = False
) -> None:
    """A day, and a month as a range, through load, dbt and KPI."""
    from benchmarks import daily as benchmark

    _run("daily", lambda: benchmark.measure(days), trial)


@app.command()
def startup(
    runs: Annotated[int, typer.Option(min=1, help="How often each is started.")] = 5, trial: Trial = False
) -> None:
    """Import of the definitions, and `dagster dev` until the assets answer."""
    from benchmarks import startup as benchmark

    _run("startup", lambda: benchmark.measure(runs), trial)


@app.command()
def memory(
    command: Annotated[list[str] | None, typer.Argument(help="A command; retail demo when left out.")] = None,
    trial: Trial = False,
) -> None:
    """The most memory that a command takes, with all it starts."""
    from benchmarks import memory as benchmark

    chosen = tuple(command or benchmark.DEFAULT)
    if chosen != benchmark.DEFAULT and not trial:
        raise typer.BadParameter("what is recorded is the demo; give --trial with another command")
    _run("memory", lambda: benchmark.measure(chosen), trial)


@app.command()
def demo(trial: Trial = False) -> None:
    """`make demo` on a fresh clone, cold and warm. Needs the network."""
    from benchmarks import demo as benchmark

    _run("demo", benchmark.measure, trial)


@app.command()
def fraud(
    seeds: Annotated[int, typer.Option(min=2, help="Half years that are simulated.")] = 5, trial: Trial = False
) -> None:
    """Fraud models on the Fraud Detection Handbook's benchmark: docs/fraud.md."""
    from benchmarks import fraud as benchmark

    result = results.measured(lambda: benchmark.measure(seeds))
    typer.echo(json.dumps(result["figures"], indent=1))
    if not trial:
        benchmark.publish(result)


@app.command()
def hostile(
    records: Annotated[int, typer.Option(min=1000, help="Records, none of them valid.")] = 1_000_000,
    trial: Trial = False,
) -> None:
    """Malformed, hostile and huge records: each in quarantine, in bounded memory."""
    from benchmarks import hostile as benchmark

    _run("hostile", lambda: benchmark.measure(records), trial)


@app.command()
def burst(
    rate: Annotated[float, typer.Option(min=10, help="Events a second before and after.")] = 500,
    factor: Annotated[float, typer.Option(min=2, help="The burst is so many times as fast.")] = 10,
    seconds: Annotated[float, typer.Option(min=5, help="Seconds that the burst lasts.")] = 120,
    warm_up_seconds: WarmUp = 120,
    trial: Trial = False,
) -> None:
    """Ten times the steady rate for two minutes: nothing lost, and when is it caught up with?"""
    from benchmarks import burst as benchmark

    _run("burst", lambda: benchmark.measure(rate, factor, seconds, warm_up_seconds), trial)


@app.command()
def soak(
    hour_seconds: Annotated[float, typer.Option(min=5, help="Seconds that a simulated hour takes.")] = 60,
    rate: Annotated[float, typer.Option(min=10, help="Events a second at the day's mean.")] = 200,
    trial: Trial = False,
) -> None:
    """A simulated day: do memory, checkpoints, files and batch times stay within bounds?"""
    from benchmarks import soak as benchmark

    _run("soak", lambda: benchmark.measure(hour_seconds, rate), trial)


@app.command("all")
def everything() -> None:
    """Every benchmark in full, each in a process of its own, in turn. Exit code 1 when one failed."""
    failed = []
    for number, name in enumerate(NAMES, start=1):
        say(f"— {name} ({number} of {len(NAMES)})")
        done = subprocess.run([sys.executable, "-m", "benchmarks", name], cwd=PROJECT_ROOT, check=False)
        if done.returncode:
            failed.append(name)
    if failed:
        raise RetailError(f"not measured: {', '.join(failed)}; the reasons are above")


@app.command()
def render() -> None:
    """Write docs/benchmarks.md again from the results."""
    report.render(results.read())


def _end(number: int, _frame: object) -> None:
    # Told again while it cleans up, it would leave the rest behind.
    signal.signal(number, signal.SIG_IGN)
    sys.exit(128 + number)


def _run(name: str, measure: Callable[[], dict[str, Any]], trial: bool) -> None:
    if not trial:
        await_quiet()
    result = results.measured(measure)
    typer.echo(json.dumps(result["figures"], indent=1))
    if not trial:
        results.record(name, result)
        report.render(results.read())


def main() -> None:
    """Run the command line; what the user can mend is one line on standard error."""
    try:
        app()
    except RetailError as error:
        err.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
