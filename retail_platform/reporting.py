"""Where a long-running process says how it goes: to Dagster when Dagster started it, else to standard error."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

from dagster_pipes import (
    PipesContext,
    PipesDefaultMessageWriter,
    PipesEnvVarParamsLoader,
    PipesMessageWriter,
    PipesS3MessageWriter,
    open_dagster_pipes,
)

from retail_platform.settings import get_settings

Report = Callable[[str], None]

_INTERVAL_SECONDS = 5.0


@contextlib.contextmanager
def reporting() -> Iterator[Report]:
    """What takes the lines of this process.

    Raises:
        RetailError: they are to go through the bucket, and the settings are wrong.
    """
    if os.environ.get("DAGSTER_PIPES_CONTEXT") is None:
        yield _say
        return
    with open_dagster_pipes(message_writer=_writer()) as context:
        yield context.log.info


def carrying_run() -> str | None:
    """The id of the Dagster run that started this process; ``None`` when a person did. Within :func:`reporting`."""
    return PipesContext.get().run_id if PipesContext.is_initialized() else None


def _writer() -> PipesMessageWriter[Any]:
    """Through the bucket where Dagster waits there, on another machine; else through the file that it named."""
    params = PipesEnvVarParamsLoader().load_messages_params()  # type: ignore[no-untyped-call]
    if "bucket" not in params:
        return PipesDefaultMessageWriter()
    # Only a lake in a bucket needs boto3.
    from retail_platform.lakehouse.location import aws_client  # noqa: PLC0415

    return PipesS3MessageWriter(aws_client(get_settings(), "s3"), interval=_INTERVAL_SECONDS)


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
