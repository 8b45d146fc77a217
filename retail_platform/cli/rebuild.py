"""``retail rebuild``: derive silver days again from bronze, after a rule changed or a table was damaged."""

from __future__ import annotations

import datetime as dt
import json
from typing import Annotated

import typer

from retail_platform.cli.app import app, err, out
from retail_platform.contracts import TRANSACTIONS
from retail_platform.settings import get_settings

rebuild = typer.Typer(help="Derive tables again from bronze.", no_args_is_help=True)
app.add_typer(rebuild, name="rebuild", rich_help_panel="Operate")


@rebuild.command()
def silver(
    from_: Annotated[dt.datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="First business date.")],
    to: Annotated[dt.datetime, typer.Option(formats=["%Y-%m-%d"], help="Last one.")],
    table: Annotated[str, typer.Option(help="The silver table.")] = TRANSACTIONS.silver_name,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Replace these days of a silver table by what bronze holds for them, judged by the rules of now.

    Done by the running stream between two batches, or here when none runs. Of the transactions the minute sales too.

    Example: [bold]retail rebuild silver --from 2010-12-01 --to 2010-12-03[/]
    """
    from retail_platform.cli.running import lake_work
    from retail_platform.partitions import date_range

    settings = get_settings()
    names = [contract.silver_name for contract in settings.topics]
    if table not in names:
        raise typer.BadParameter(f"no silver table {table}; there are {', '.join(names)}")
    days = date_range(from_.date(), to.date())
    if not days:
        raise typer.BadParameter("--to is before --from")
    err.print(f"replaces silver/{table} of {days[0]} to {days[-1]} by what bronze holds; other days stay")
    arguments = {"table": table, "dates": [day.isoformat() for day in days]}
    result = lake_work(settings, "rebuild_silver", arguments, f"silver/{table} again", yes=yes)
    if as_json:
        out.print_json(json.dumps(result))
    else:
        out.print(f"{result['rows_before']:,} rows before, {result['rows_after']:,} after; done by {result['done by']}")
