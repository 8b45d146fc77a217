"""The words of an alert, the same on every channel: what, since when, how bad, where to look, what to do first."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

from retail_platform.alerts.incidents import Days, Event, Fault, Message
from retail_platform.partitions import ranges

_MOST_RANGES = 4
_GUIDE = "docs/operate/alerts.md"

_STATE = {Event.opened: "Failing", Event.escalated: "Worse", Event.recovered: "Recovered"}

#: The first thing to do by fault; each has a section of the same name in the guide.
FIRST: Mapping[Fault, str] = {
    Fault.check: "Open the page, read what the check found, and look the check up in the guide.",
    Fault.quarantine: "Run `retail lake show quarantine/events --limit 20` and see which reason and sender it is.",
    Fault.run: "Open the run, mend what its one line names, then re-execute it.",
    Fault.freshness: "Look at the last run of `daily_kpis`: did it fail, or was none launched?",
    Fault.stream: "Run `retail stream status`: it names the error of the last run.",
}


def title(message: Message) -> str:
    """One line: state, severity, fault, subject and days."""
    days = f" ({spoken_days(message.days)})" if message.days else ""
    severity = "" if message.event is Event.recovered else f" [{message.severity.name}]"
    return f"{_STATE[message.event]}{severity}: {message.fault} {message.subject}{days}"


def facts(message: Message, ui_url: str) -> dict[str, str]:
    """The alert's facts by name, in the order in which they are read."""
    found = {
        "what": message.summary,
        "since": spoken_time(message.since),
        "how bad": f"{message.severity.name}, for the team {message.owner}",
        "page": link(message, ui_url),
    }
    if message.event is Event.recovered:
        return found | {"recovered": spoken_time(message.at)}
    return found | {"first": f"{FIRST[message.fault]} Guide: {guide(message.fault)}"}


def link(message: Message, ui_url: str) -> str:
    """The address of the page in Dagster's UI."""
    return ui_url.rstrip("/") + message.page


def guide(fault: Fault) -> str:
    """Where the repository says what to do about a fault."""
    return f"{_GUIDE}#{fault}"


def spoken_days(days: Days) -> str:
    """Business dates as people write them: ``2010-12-01 to 2010-12-03, 2010-12-07``."""
    spans = [f"{first}" if first == last else f"{first} to {last}" for first, last in ranges(days)]
    more = len(spans) - _MOST_RANGES
    return ", ".join(spans[:_MOST_RANGES]) + (f" and {more} more ranges" if more > 0 else "")


def spoken_time(moment: dt.datetime) -> str:
    """An instant in UTC, to the second."""
    return f"{moment.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S} UTC"
