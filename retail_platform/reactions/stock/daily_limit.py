"""How many reorder requests a store may make in a day by itself; what is over is held for a person. Key: store_id.

Against a rule gone wrong, not against demand: the limit is far above a normal day. A held request stays open in its
cycle: a person releases it, or it is asked for again when the cycle's time is over.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from zoneinfo import ZoneInfo

from retail_platform.reactions.events import moment
from retail_platform.reactions.outputs import from_micros, micros
from retail_platform.reactions.stock.reorder import ReorderRequest, unpacked_request


@dataclass(frozen=True, slots=True)
class Parameters:
    """``most_requests``: REORDER_DAILY_LIMIT, a store and business date. ``timezone``: BUSINESS_TIMEZONE."""

    most_requests: int = 200
    timezone: str = "UTC"


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


def step(state: State, request: ReorderRequest, parameters: Parameters) -> tuple[State, tuple[ReorderRequest, ...]]:
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


@dataclass(frozen=True, slots=True)
class Release:
    """A person lets a held request through: that of this store, product and cycle, asked for at ``event_time``."""

    event_time: dt.datetime
    store_id: str
    product_id: str
    cycle: int

    def packed(self) -> dict[str, Any]:
        """As JSON, for the way to its store's partition, where requests come too."""
        return {
            "release": [micros(self.event_time), self.store_id, self.product_id, self.cycle],
        }


def from_release(event: Mapping[str, Any]) -> Release:
    """A valid event of ``reorder-releases``, as :class:`Judgement.event` holds it."""
    return Release(moment(event["event_time"]), event["store_id"], event["product_id"], int(event["cycle"]))


def unpacked_event(packed: Mapping[str, Any]) -> ReorderRequest | Release:
    """What :meth:`Release.packed` or :meth:`ReorderRequest.packed` wrote."""
    if "release" not in packed:
        return unpacked_request(packed)
    at, *of = packed["release"]
    return Release(from_micros(at), *of)


def released(held: Mapping[str, Any] | None, release: Release) -> tuple[ReorderRequest, ...]:
    """The request that is let through: ``held``, as :meth:`ReorderRequest.packed` wrote it, if it is the one that is meant."""
    if held is None:
        return ()
    request = unpacked_request(held)
    if request.cycle != release.cycle:
        return ()
    return (replace(request, status="released", event_time=release.event_time),)
