"""One round of telling: every channel gets what waits for it, oldest first, until it is down, busy, or has had enough."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence

from retail_platform.alerts.channels import RefusedError, Sender, UnreachableError
from retail_platform.alerts.incidents import State, accepted, next_message

_MOST_REFUSALS = 3


def deliver(
    state: State, senders: Sequence[Sender], now: dt.datetime, most_per_minute: int, in_time: Callable[[], bool]
) -> tuple[State, tuple[str, ...]]:
    """The state after the round, and one line for each message that was not accepted; those wait for the next round.

    ``in_time`` says whether there is time for one more message.
    """
    problems: list[str] = []
    for sender in senders:
        refused: set[str] = set()
        while in_time() and len(refused) < _MOST_REFUSALS:
            message = next_message(state, sender.channel, now, most_per_minute, refused)
            if message is None:
                break
            try:
                sender.send(message)
            except UnreachableError as error:
                problems.append(str(error))
                break
            except RefusedError as error:
                problems.append(f"{error} to {message.id}")
                refused.add(message.incident)
            else:
                state = accepted(state, message, sender.channel, now)
    return state, tuple(problems)
