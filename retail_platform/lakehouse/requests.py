"""Work that is asked of whoever writes the lake: a request is a small text, and so is its answer.

A rebuild or an optimisation must never write beside the stream, so it asks the stream to do it between two batches.
Where no stream runs, whoever wants the work does it under the lake's lease; :func:`have_done` does the one or the other.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import signal
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from retail_platform.errors import RetailError
from retail_platform.lakehouse.control import Control, control
from retail_platform.lakehouse.lease import Holder, LakeInUse, holder
from retail_platform.settings import Settings

#: The one request that the stream itself takes up, whatever else it has in hand.
STOP = "stop"

_FOLDER, _ASKED = "requests", ".request.json"


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
    place = control(settings)
    asked, answered = _names(_ask(place, work, arguments))
    deadline = time.monotonic() + timeout_seconds
    while True:
        gone = not alive()  # before the look for an answer: the last thing a stream does may be to answer
        text = place.read(answered)
        if text is not None:
            answer = json.loads(text)
            place.remove(answered)
            break
        if gone or time.monotonic() > deadline:
            place.remove(asked)
            if gone:
                return None
            raise RetailError(
                f"the stream did not do {work} within {timeout_seconds:.0f} s; see `retail stream status`"
            )
        time.sleep(place.look_seconds)
    if "error" in answer:
        raise RetailError(f"{work}: {answer['error']}")
    result: dict[str, Any] = answer["result"]
    return result


def ask_to_stop(settings: Settings, owner: Holder) -> None:
    """Ask whoever has the lake to stop between two batches, without waiting for it.

    Raises:
        RetailError: it works on another machine, and the bucket cannot be reached.
    """
    if owner.host is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(owner.pid, signal.SIGTERM)
    else:
        _ask(control(settings), STOP, {"pid": owner.pid, "since": owner.since})


def is_for(request: Request, me: Holder) -> bool:
    """Whether a request to stop is for this holder of the lake, and not for one before it that never saw it."""
    return bool(request.arguments == {"pid": me.pid, "since": me.since})


def pending(settings: Settings) -> Iterator[Request]:
    """The requests that wait, oldest first."""
    place = control(settings)
    for name in place.names(_FOLDER, _ASKED):
        text = place.read(name)
        if text is None:
            continue  # withdrawn by who asked
        data = json.loads(text)
        yield Request(name.removeprefix(f"{_FOLDER}/").removesuffix(_ASKED), data["work"], data["arguments"])


def answer(settings: Settings, request: Request, result: Mapping[str, Any] | None, error: str | None = None) -> None:
    """Answer a request, and take it off the list."""
    asked, answered = _names(request.id)
    said: dict[str, Any] = {"error": error} if error else {"result": dict(result or {})}
    control(settings).write(answered, json.dumps(said, default=str))
    control(settings).remove(asked)


def strike_off(settings: Settings, request: Request) -> None:
    """Take a request off the list that nobody waits for an answer to."""
    control(settings).remove(_names(request.id)[0])


def _ask(place: Control, work: str, arguments: Mapping[str, Any]) -> str:
    request_id = f"{time.time_ns()}-{uuid.uuid4().hex[:8]}"
    asked = {"work": work, "arguments": dict(arguments), "at": dt.datetime.now(dt.UTC).isoformat()}
    place.write(_names(request_id)[0], json.dumps(asked, default=str))
    return request_id


def _names(request_id: str) -> tuple[str, str]:
    return f"{_FOLDER}/{request_id}{_ASKED}", f"{_FOLDER}/{request_id}.answer.json"
