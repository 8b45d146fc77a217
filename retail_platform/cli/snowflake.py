"""``retail snowflake``: the proof that the account in use comes to the same figures as DuckDB."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from retail_platform.cli.app import app, err, out
from retail_platform.errors import RetailError
from retail_platform.settings import get_settings

snowflake = typer.Typer(help="The warehouse on Snowflake.", no_args_is_help=True)
app.add_typer(snowflake, name="snowflake", rich_help_panel="Operate")

#: The first two days of the sample.
_FIRST, _LAST = "2010-12-01", "2010-12-02"


@snowflake.command()
def verify(
    from_: Annotated[dt.datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="First business date.")] = _FIRST,  # type: ignore[assignment]
    to: Annotated[dt.datetime, typer.Option(formats=["%Y-%m-%d"], help="Last one.")] = _LAST,  # type: ignore[assignment]
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Load days of the lake into this account and into DuckDB, build both, and compare every mart row for row.

    In a database of its own, which is dropped at the end. Exit code 0 only if everything is equal.

    Example: [bold]retail snowflake verify --from 2010-12-01 --to 2010-12-23[/]
    """
    from retail_platform.partitions import date_range
    from retail_platform.warehouse.parity import compare

    settings = get_settings()
    if settings.warehouse != "snowflake":
        raise RetailError("`retail snowflake verify` needs WAREHOUSE=snowflake and its SNOWFLAKE_ settings")
    days = date_range(from_.date(), to.date())
    if not days:
        raise typer.BadParameter("--to is before --from")
    err.print(
        f"Creates a database in {settings.snowflake_account} as role {settings.snowflake_role}, works on warehouse "
        f"{settings.snowflake_warehouse}, which is billed for it, and drops the database at the end.",
        markup=False,
    )
    if not yes and not typer.confirm(f"Compare {days[0]} to {days[-1]}?"):
        raise typer.Exit(1)
    found = compare(settings, days, lambda text: err.print(text, markup=False))
    table = Table(title=f"DuckDB and Snowflake, {days[0]} to {days[-1]}", title_justify="left")
    for name in ("", "compared", "rows", "differences"):
        table.add_column(name, justify="right" if name in ("rows", "differences") else "left")
    for each in found:
        mark = "[red]✗[/]" if each.differences else "[green]✓[/]"
        table.add_row(mark, each.what, f"{each.rows:,}", f"{each.differences:,}")
    out.print(table)
    unequal = [each for each in found if each.differences]
    for each in unequal:
        err.print(f"{each.what}: {escape(each.example)}", soft_wrap=True)
    if unequal:
        raise typer.Exit(1)
