"""Each event counts once: whether one has been seen, asked where every copy of it arrives, at its transaction_id.

A cell cannot tell: a busy day holds more ids than a state may. A copy has its original's transaction_id, hence its
partition and its state, so the answer is exact for as long as the store keeps that key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from retail_platform.reactions.events import Transaction


@dataclass(frozen=True, slots=True)
class Parameters:
    """``most_ids``: how many events of one transaction_id are told apart, the latest ones.

    A receipt number has one event; it has more only where a retailer uses one number for a sale and its returns.
    """

    version: str
    most_ids: int


DEFAULT = Parameters(version="duplicates-1", most_ids=64)


@dataclass(frozen=True, slots=True)
class State:
    """The event_ids seen of one transaction_id, oldest first; at most ``most_ids``."""

    event_ids: tuple[str, ...] = ()

    def packed(self) -> dict[str, Any]:
        """The state as JSON."""
        return {"event_ids": list(self.event_ids)}


def unpacked(state: Mapping[str, Any] | None) -> State:
    """The state that :meth:`State.packed` wrote; empty where there is none."""
    return State(tuple(state["event_ids"])) if state else State()


def step(
    state: State, transaction: Transaction, parameters: Parameters = DEFAULT
) -> tuple[State, tuple[Transaction, ...]]:
    """Let an event through the first time, and never again."""
    if transaction.event_id in state.event_ids:
        return state, ()
    return State((*state.event_ids, transaction.event_id)[-parameters.most_ids :]), (transaction,)
