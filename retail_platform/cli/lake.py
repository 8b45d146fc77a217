"""``retail lake``: its tables, their history and rows at a version or a time; fewer files, and less of the past."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from retail_platform.cli.app import app, err, harmless, out
from retail_platform.errors import RetailError
from retail_platform.settings import get_settings

if TYPE_CHECKING:
    from retail_platform.contracts.model import Table as LakeTable

lake = typer.Typer(help="The lake: Delta tables, their history, their rows.", no_args_is_help=True)
app.add_typer(lake, name="lake", rich_help_panel="Operate")

Name = Annotated[str, typer.Argument(help="A table, e.g. silver/transaction_lines; see `retail lake tables`.")]
OneTable = Annotated[str | None, typer.Argument(help="Only this table; all of them when left out.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Json = Annotated[bool, typer.Option("--json", help="Print it as JSON.")]


@lake.command()
def tables(as_json: Json = False) -> None:
    """Every table: what a row is, its newest version, rows, files."""
    from retail_platform.contracts import ALL_TABLES
    from retail_platform.lakehouse.manifest import manifest

    settings = get_settings()
    records = []
    for table in ALL_TABLES:
        record: dict[str, Any] = {"table": table.path, "a row is": table.grain}
        try:
            found = manifest(settings, table)
        except RetailError:
            record |= {"version": None, "rows": None, "files": None}
        else:
            record |= {"version": found.version, "rows": found.rows, "files": len(found.files)}
        records.append(record)
    _print(records, as_json=as_json)


@lake.command()
def history(
    name: Name, limit: Annotated[int, typer.Option(min=1, help="Newest versions to show.")] = 20, as_json: Json = False
) -> None:
    """The versions of a table, newest first: when, what was done, rows written, by which batch."""
    from retail_platform.lakehouse.history import versions

    _print([entry.record() for entry in versions(get_settings(), _table(name), limit)], as_json=as_json)


@lake.command()
def show(
    name: Name,
    version: Annotated[int | None, typer.Option(help="The table as it was at this version.")] = None,
    at: Annotated[dt.datetime | None, typer.Option(help="The table as it was at this time (UTC).")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Rows to show.")] = 10,
    as_json: Json = False,
) -> None:
    """Some rows of a table, now or as it was at a version or a time. Raw values are shown as text, cut short."""
    from retail_platform.lakehouse.history import readable, version_at
    from retail_platform.lakehouse.reading import records_of

    if version is not None and at is not None:
        raise typer.BadParameter("give --version or --at, not both")
    settings, table = get_settings(), _table(name)
    if at is not None:
        version = version_at(settings, table, at.replace(tzinfo=dt.UTC))
    records = records_of(readable(settings, table, version), limit)
    _print([{name: _shown(value) for name, value in record.items()} for record in records], as_json=as_json)


@lake.command()
def diff(
    name: Name,
    from_: Annotated[int, typer.Option("--from", min=0, help="The earlier version.")],
    to: Annotated[int, typer.Option(min=0, help="The later version.")],
    as_json: Json = False,
) -> None:
    """Rows added and removed between two versions, by partition. A changed row is one removed and one added."""
    from retail_platform.lakehouse.history import differences

    found = differences(get_settings(), _table(name), from_, to)
    _print([dataclasses.asdict(entry) for entry in found], as_json=as_json)


@lake.command()
def optimize(name: OneTable = None, yes: Yes = False, as_json: Json = False) -> None:
    """Compact the small files of closed days and of the ledger; no row changes.

    Done by the running stream between two batches, or here when none runs. A day whose files changed is loaded again by
    the late-arrivals sensor, with the same figures.
    """
    paths = _paths(name)
    err.print(f"compacts the files of closed days in {', '.join(paths)}; a batch of the stream may wait meanwhile")
    _work("optimize", paths, yes=yes, as_json=as_json)


@lake.command()
def vacuum(name: OneTable = None, yes: Yes = False, as_json: Json = False) -> None:
    """Delete the files that no version of the last LAKE_HISTORY_DAYS days needs. Older versions cannot be read after that.

    Done by the running stream, or here when none runs.
    """
    paths, days = _paths(name), get_settings().lake_history_days
    err.print(
        f"deletes, in {', '.join(paths)}, the files that only versions older than {days} days (LAKE_HISTORY_DAYS) need"
    )
    _work("vacuum", paths, yes=yes, as_json=as_json)


def _paths(name: str | None) -> list[str]:
    from retail_platform.contracts import ALL_TABLES

    return [_table(name).path] if name else [table.path for table in ALL_TABLES]


def _work(work: str, paths: list[str], *, yes: bool, as_json: bool) -> None:
    from retail_platform.cli.running import lake_work

    result = lake_work(get_settings(), work, {"tables": paths}, work, yes=yes)
    if as_json:
        out.print_json(json.dumps(result))
    else:
        err.print(f"done by {result['done by']}")
        _print([_before_and_after(entry) for entry in result["tables"]], as_json=False)


def _before_and_after(entry: dict[str, Any]) -> dict[str, str]:
    before, after = entry["before"], entry["after"]
    changes = {name.replace("_", " "): f"{before[name]:,} → {after[name]:,}" for name in before}
    return {"table": entry["table"], **changes}


def _table(name: str) -> LakeTable:
    from retail_platform.contracts import ALL_TABLES

    for table in ALL_TABLES:
        if table.path == name:
            return table
    raise typer.BadParameter(f"no table {name}; there are {', '.join(table.path for table in ALL_TABLES)}")


def _shown(value: Any) -> Any:
    return value.decode("utf-8", "backslashreplace")[:200] if isinstance(value, bytes | bytearray) else value


def _print(records: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        out.print_json(json.dumps(records, default=str))
        return
    shown = Table()
    for name in records[0] if records else ("nothing",):
        shown.add_column(name, overflow="fold")
    for record in records:
        shown.add_row(*("" if value is None else harmless(str(value)) for value in record.values()))
    out.print(shown)
