"""What is being done, how much of it is done, and how fast: on standard error."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

err = Console(stderr=True, highlight=False)


@contextlib.contextmanager
def counted(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar for ``total`` pieces of work; what it yields takes the number done so far."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
    with Progress(*columns, TimeElapsedColumn(), console=err) as progress:
        task = progress.add_task(title, total=total, rate="")

        def told(done: int) -> None:
            elapsed = progress.tasks[0].elapsed or 0
            progress.update(task, completed=done, rate=_rate(done, elapsed))

        yield told


def say(line: str) -> None:
    """One line about what begins now."""
    err.print(line, soft_wrap=True, markup=False)


def _rate(done: int, seconds: float) -> str:
    if not seconds or not done:
        return ""
    return f"{done / seconds:,.0f}/s" if done > seconds else f"{seconds / done:,.1f} s each"
