"""Where a long-running process says how it goes: to Dagster when Dagster started it, else to standard error."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator

from dagster_pipes import PipesContext, PipesDefaultMessageWriter, open_dagster_pipes

Report = Callable[[str], None]


@contextlib.contextmanager
def reporting() -> Iterator[Report]:
    """What takes the lines of this process."""
    if os.environ.get("DAGSTER_PIPES_CONTEXT") is None:
        yield _say
        return
    with open_dagster_pipes(message_writer=PipesDefaultMessageWriter()) as context:
        yield context.log.info


def carrying_run() -> str | None:
    """The id of the Dagster run that started this process; ``None`` when a person did. Within :func:`reporting`."""
    return PipesContext.get().run_id if PipesContext.is_initialized() else None


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
