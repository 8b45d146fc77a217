"""Work that is asked of whoever writes the lake: a request is a file, and so is its answer.

A rebuild or an optimisation must never write beside the stream, so it asks the stream to do it between two batches.
Where no stream runs, whoever wants the work does it under the lake's lease; :func:`have_done` does the one or the other.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retail_platform.errors import RetailError
from retail_platform.lakehouse.lease import LakeInUse, holder
from retail_platform.settings import Settings


@dataclass(frozen=True, slots=True)
class Request:
    """One piece of work by name, with its arguments (JSON values)."""

    id: str
    work: str
    arguments: Mapping[str, Any]


def have_done(
    settings: Settings,
    work: str,
    arguments: Mapping[str, Any],
    here: Callable[[], Mapping[str, Any]],
    timeout_seconds: float = 3600.0,
) -> dict[str, Any]:
    """Have the running stream do the work between two batches; when there is none, do it ``here``, under the lake's lease.

    The result has, beside the work's own, ``done by``.

    Raises:
        RetailError: the work failed, or took longer than ``timeout_seconds``.
    """
    while True:
        if holder(settings) is not None:
            answered = ask(settings, work, arguments, timeout_seconds, alive=lambda: holder(settings) is not None)
            if answered is not None:
                return {**answered, "done by": "the running stream"}
        try:
            return {**here(), "done by": "this process"}
        except LakeInUse:
            continue  # a stream has started meanwhile


def ask(
    settings: Settings, work: str, arguments: Mapping[str, Any], timeout_seconds: float, alive: Callable[[], bool]
) -> dict[str, Any] | None:
    """Ask the running stream, and wait for its answer; ``None`` when it went away (``alive`` is false) before it answered.

    Raises:
        RetailError: the work failed, or took longer than ``timeout_seconds``.
    """
    request = Request(f"{time.time_ns()}-{uuid.uuid4().hex[:8]}", work, arguments)
    asked, answered = _paths(settings, request.id)
    asked.parent.mkdir(parents=True, exist_ok=True)
    _write(asked, {"work": work, "arguments": dict(arguments), "at": dt.datetime.now(dt.UTC).isoformat()})
    deadline = time.monotonic() + timeout_seconds
    while True:
        gone = not alive()  # before the look for an answer: the last thing a stream does may be to answer
        if answered.exists():
            answer = json.loads(answered.read_text())
            answered.unlink()
            break
        if gone or time.monotonic() > deadline:
            asked.unlink(missing_ok=True)
            if gone:
                return None
            raise RetailError(
                f"the stream did not do {work} within {timeout_seconds:.0f} s; see `retail stream status`"
            )
        time.sleep(0.1)
    if "error" in answer:
        raise RetailError(f"{work}: {answer['error']}")
    result: dict[str, Any] = answer["result"]
    return result


def pending(settings: Settings) -> Iterator[Request]:
    """The requests that wait, oldest first."""
    folder = _folder(settings)
    for path in sorted(folder.glob("*.request.json")) if folder.exists() else ():
        try:
            data = json.loads(path.read_text())
        except FileNotFoundError:
            continue  # withdrawn by who asked
        yield Request(path.name.removesuffix(".request.json"), data["work"], data["arguments"])


def answer(settings: Settings, request: Request, result: Mapping[str, Any] | None, error: str | None = None) -> None:
    """Answer a request, and take it off the list."""
    asked, answered = _paths(settings, request.id)
    _write(answered, {"error": error} if error else {"result": dict(result or {})})
    asked.unlink(missing_ok=True)


def _folder(settings: Settings) -> Path:
    return settings.control_dir / "requests"


def _paths(settings: Settings, request_id: str) -> tuple[Path, Path]:
    folder = _folder(settings)
    return folder / f"{request_id}.request.json", folder / f"{request_id}.answer.json"


def _write(path: Path, data: Mapping[str, Any]) -> None:
    draft = path.with_suffix(f".{os.getpid()}.tmp")
    draft.write_text(json.dumps(data, default=str))
    draft.replace(path)
