"""The Typer application, how it prints, and how a user's mistake ends: one line, a non-zero exit code.

Commands live in the sibling modules, which import what they need when they run: ``retail --help`` stays instant.
"""

from __future__ import annotations

import re
import sys
from importlib.metadata import version
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from retail_platform.errors import RetailError

app = typer.Typer(
    name="retail",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)

# A log or a pipe has no width of its own; tables in it are not to be cut short.
_WIDTH_OF_A_FILE = 160

#: Results go to standard output, everything said along the way to standard error.
out = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH_OF_A_FILE)
err = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else _WIDTH_OF_A_FILE)


# All but tab and line feed; and what turns the direction of writing around.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def harmless(text: str) -> str:
    """Text that came from outside, for a terminal: as it reads, without the power to style, hide or move anything."""
    return escape(_CONTROL.sub(lambda found: ascii(found[0])[1:-1], text))


def _tell_version(asked: bool) -> None:
    if asked:
        out.print(f"retail-platform {version('retail-platform')}")
        raise typer.Exit


@app.callback()
def retail(
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Say which version this is.")
    ] = False,
) -> None:
    """Retail data platform: from the tills' Kafka topics to the daily KPI file, live and by the day."""


def main() -> None:
    """Run the command line; a :class:`RetailError` becomes one line on standard error and its exit code."""
    try:
        app()
    except RetailError as error:
        err.print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        err.print("stopped")
        sys.exit(130)
