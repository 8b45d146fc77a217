"""The Typer application, how it prints, and how a user's mistake ends: one line, a non-zero exit code.

Commands live in the sibling modules, which import what they need when they run: ``retail --help`` stays instant.
"""

from __future__ import annotations

import sys

import typer
from rich.console import Console

from retail_platform.errors import RetailError

app = typer.Typer(
    name="retail",
    help="Retail data platform: from the tills' Kafka topics to the daily KPI file, live and by the day.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)

#: Results go to standard output, everything said along the way to standard error.
out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def main() -> None:
    """Run the command line; a :class:`RetailError` becomes one line on standard error and its exit code."""
    try:
        app()
    except RetailError as error:
        err.print(f"[bold red]error:[/] {error}", markup=True, soft_wrap=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        err.print("stopped")
        sys.exit(130)
