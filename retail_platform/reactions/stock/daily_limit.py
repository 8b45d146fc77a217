"""How many reorder requests a store may make in a day by itself; what is over is held for a person. Key: store_id.

Against a rule gone wrong, not against demand: the limit is far above a normal day. A held request stays open in its
cycle, and is asked for again when the cycle's time is over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from zoneinfo import ZoneInfo

from retail_platform.reactions.stock.reorder import ReorderRequest


@dataclass(frozen=True, slots=True)
class Parameters:
    """``most_requests``: a store and business date. ``timezone``: BUSINESS_TIMEZONE."""

    version: str
    most_requests: int
    timezone: str = "UTC"


DEFAULT = Parameters(version="daily-limit-1", most_requests=200)


@dataclass(frozen=True, slots=True)
class State:
    """The requests that went through, with their dates (proleptic ordinals), of the newest date and the one before.

    Bounded by twice ``most_requests``. One of those that comes again changes nothing; one that was held is held again,
    as the same message.
    """

    passed: tuple[tuple[int, str], ...] = ()

    def packed(self) -> dict[str, Any]:
        """The state as JSON."""
        return {"passed": [list(one) for one in self.passed]}


def unpacked(state: Mapping[str, Any] | None) -> State:
    """The state that :meth:`State.packed` wrote; empty where there is none."""
    return State(tuple((date, request_id) for date, request_id in state["passed"])) if state else State()


def step(
    state: State, request: ReorderRequest, parameters: Parameters = DEFAULT
) -> tuple[State, tuple[ReorderRequest, ...]]:
    """Let a request through, or hold it: over the limit of its date, or older than the dates that are remembered."""
    date = request.event_time.astimezone(ZoneInfo(parameters.timezone)).date().toordinal()
    if (date, request.request_id) in state.passed:
        return state, ()
    newest = max((passed for passed, _ in state.passed), default=date)
    used = sum(passed == date for passed, _ in state.passed)
    if used >= parameters.most_requests or date < newest - 1:
        return state, (replace(request, status="held"),)
    kept = tuple(one for one in state.passed if one[0] >= max(newest, date) - 1)
    return State((*kept, (date, request.request_id))), (request,)
