"""``retail backup`` and ``retail restore``: the platform's state into a folder, and back."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table

from retail_platform.cli.app import app, err, out
from retail_platform.settings import get_settings

_PANEL = "Operate"
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


@app.command(rich_help_panel=_PANEL)
def backup(
    target: Annotated[Path, typer.Argument(help="A folder that does not exist yet, best on another disk.")],
    yes: Yes = False,
) -> None:
    """Copy all state (Kafka, lake, checkpoints, warehouse, Dagster's history), consistent while everything runs.

    The stream and Kafka stand still for a moment each, not for the copy.

    Example: [bold]retail backup /mnt/backups/2026-03-02[/]
    """
    from retail_platform.backup.taking import back_up, size_of
    from retail_platform.lakehouse.location import only_on_disk

    settings = get_settings()
    only_on_disk(settings, "`retail backup`")
    sizes = size_of(settings)
    for part, size in sizes.items():
        err.print(f"  {settings.retail_home / part}, {_size(size)}", soft_wrap=True)
    err.print(f"are copied to {target}, {_size(sum(sizes.values()))} in all", soft_wrap=True)
    if not yes and not typer.confirm("Do it?", err=True):
        raise typer.Exit(1)
    with _bar("backup") as told:
        done = back_up(settings, target, told)
    _print_parts(done.manifest.parts(), f"{target}, whole and sealed with its manifest")
    out.print(
        f"{_size(done.manifest.bytes)} in {done.seconds:.1f} s; the lake stood still for {done.lake_seconds:.2f} s, "
        f"Kafka for {done.kafka_seconds:.2f} s",
        soft_wrap=True,
    )


@app.command(rich_help_panel=_PANEL)
def restore(
    source: Annotated[Path, typer.Argument(help="A folder that `retail backup` wrote.")], yes: Yes = False
) -> None:
    """Put a backup in the place of RETAIL_HOME, after each file was compared with its checksum.

    Nothing of the platform may run. What RETAIL_HOME holds now is moved aside, not removed.
    """
    from retail_platform.backup.restoring import occupied, read_manifest, refuse_other_settings
    from retail_platform.backup.restoring import restore as put_back
    from retail_platform.lakehouse.location import only_on_disk

    settings = get_settings()
    only_on_disk(settings, "`retail restore`")
    manifest = read_manifest(source)
    refuse_other_settings(settings, manifest)
    err.print(
        f"puts the state of {manifest.taken_at:%Y-%m-%d %H:%M:%S} UTC ({_size(manifest.bytes)}) into "
        f"{settings.retail_home}",
        soft_wrap=True,
    )
    if occupied(settings):
        err.print("what is there now is moved aside, beside it", soft_wrap=True)
    for line in _other_versions(manifest.versions):
        err.print(f"[yellow]{line}[/]", soft_wrap=True)
    if not yes and not typer.confirm("Do it?", err=True):
        raise typer.Exit(1)
    with _bar("restore") as told:
        done = put_back(settings, source, told)
    _print_parts(done.manifest.parts(), f"{settings.retail_home}, every file as it was backed up")
    if done.aside:
        out.print(
            f"what was there before is in {done.aside}; remove it when you have seen that all is well", soft_wrap=True
        )
    out.print("go on: `retail dev`, or `retail kafka start` and `retail stream drain`")


def _other_versions(versions: Mapping[str, str]) -> Iterator[str]:
    for name, was in versions.items():
        with contextlib.suppress(PackageNotFoundError):
            if (now := version(name)) != was:
                yield f"taken with {name} {was}, here is {now}"


@contextlib.contextmanager
def _bar(what: str) -> Iterator[Callable[[int, int], None]]:
    columns = (TextColumn(what), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _print_parts(parts: dict[str, tuple[int, int]], title: str) -> None:
    table = Table(title=title, title_justify="left")
    table.add_column("part")
    for name in ("files", "size"):
        table.add_column(name, justify="right")
    for part, (files, size) in parts.items():
        table.add_row(part, f"{files:,}", _size(size))
    out.print(table)


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"
