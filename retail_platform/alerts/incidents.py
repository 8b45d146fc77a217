"""Incidents as a state machine: observations in, messages out. Pure; what it knows is in :class:`State`, as JSON between.

An incident is one fault of one subject, on some business dates or as a whole. Failures of the same subject on dates that
overlap are the same incident; it is over when each of its dates was seen healthy.
"""

from __future__ import annotations

import datetime as dt
import enum
import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer

from retail_platform.alerts.routing import Channel, Owner, Severity, routed
from retail_platform.partitions import date_range, ranges

_RATE_WINDOW = dt.timedelta(minutes=1)


class Fault(enum.StrEnum):
    """What kind of thing is wrong."""

    check = "check"
    quarantine = "quarantine"
    run = "run"
    freshness = "freshness"
    stream = "stream"


class Event(enum.StrEnum):
    """What is told of an incident: that it began, that it is worse than was told, that it is over."""

    opened = "opened"
    escalated = "escalated"
    recovered = "recovered"


def _as_ranges(days: frozenset[dt.date]) -> list[str]:
    return [f"{first}/{last}" for first, last in ranges(days)]


def _from_ranges(value: object) -> object:
    if not isinstance(value, list):
        return value
    spans = (entry.split("/") for entry in value)
    return frozenset(day for first, last in spans for day in date_range(*map(dt.date.fromisoformat, (first, last))))


#: Business dates; none of them means the subject as a whole. In JSON as ranges, since a backfill may fail for years.
Days = Annotated[frozenset[dt.date], PlainSerializer(_as_ranges), BeforeValidator(_from_ranges)]
EVERYTHING: Days = frozenset()


@dataclass(frozen=True, slots=True)
class Failing:
    """``subject`` was seen to fail at ``at`` (UTC). ``page`` is the path of the UI page that shows it."""

    fault: Fault
    subject: str
    at: dt.datetime
    severity: Severity
    owner: Owner
    summary: str
    page: str
    days: Days = EVERYTHING


@dataclass(frozen=True, slots=True)
class Healthy:
    """``subject`` was seen to work at ``at`` (UTC), on ``days``."""

    fault: Fault
    subject: str
    at: dt.datetime
    summary: str
    days: Days = EVERYTHING


Observation = Failing | Healthy


@dataclass(frozen=True, slots=True)
class Incident:
    """An open incident: ``days`` are those still failing, ``affected`` all that ever did, ``told`` who hears of it."""

    id: str
    fault: Fault
    subject: str
    owner: Owner
    severity: Severity
    opened_at: dt.datetime
    failed_at: dt.datetime
    page: str
    days: Days
    affected: Days
    told: frozenset[Channel]


@dataclass(frozen=True, slots=True)
class Message:
    """One thing to be told. ``at`` is when it happened, ``since`` when its incident began (UTC)."""

    incident: str
    event: Event
    at: dt.datetime
    since: dt.datetime
    fault: Fault
    subject: str
    owner: Owner
    severity: Severity
    summary: str
    page: str
    days: Days

    @property
    def id(self) -> str:
        """The same for the same message however often it is sent, so that a receiver can tell."""
        return f"{self.incident}-{self.event}-{self.severity.name}"


@dataclass(frozen=True, slots=True)
class Waiting:
    """A message with the channels that have not accepted it yet."""

    message: Message
    channels: frozenset[Channel]


@dataclass(frozen=True, slots=True)
class State:
    """Open incidents, what waits to be told (oldest first), and when each channel accepted something lately."""

    incidents: tuple[Incident, ...] = ()
    outbox: tuple[Waiting, ...] = ()
    accepted: Mapping[Channel, tuple[dt.datetime, ...]] = field(default_factory=dict)


def observe(state: State, seen: Observation, configured: Collection[Channel]) -> State:
    """The state after one observation; what is to be told of it waits in the outbox for the ``configured`` channels."""
    if isinstance(seen, Healthy):
        return _healed(state, seen)
    known = next((incident for incident in state.incidents if _concerns(incident, seen)), None)
    return _opened(state, seen, configured) if known is None else _again(state, known, seen, configured)


def next_message(
    state: State, channel: Channel, now: dt.datetime, most_per_minute: int, passed_over: Collection[str] = ()
) -> Message | None:
    """What ``channel`` is to be sent next; ``None`` when nothing waits or it had enough for this minute.

    Of one incident always the oldest message, so that none overtakes another; incidents in ``passed_over`` are left out.
    """
    if len(_lately(state, channel, now)) >= most_per_minute:
        return None
    return next(
        (
            entry.message
            for entry in state.outbox
            if channel in entry.channels and entry.message.incident not in passed_over
        ),
        None,
    )


def accepted(state: State, message: Message, channel: Channel, now: dt.datetime) -> State:
    """The state after ``channel`` has accepted ``message``."""
    return replace(
        state,
        outbox=_without(state.outbox, channel, message),
        accepted={**state.accepted, channel: (*_lately(state, channel, now), now)},
    )


def only_configured(state: State, configured: Collection[Channel]) -> State:
    """The state without what waits for channels that somebody has unset: they are not down, they are gone."""
    kept = tuple(replace(entry, channels=entry.channels & frozenset(configured)) for entry in state.outbox)
    return replace(state, outbox=tuple(entry for entry in kept if entry.channels))


def _concerns(incident: Incident, seen: Observation) -> bool:
    same = (incident.fault, incident.subject) == (seen.fault, seen.subject)
    return same and (not incident.days or not seen.days or bool(incident.days & seen.days))


def _opened(state: State, seen: Failing, configured: Collection[Channel]) -> State:
    identity = "|".join((seen.fault, seen.subject, seen.at.isoformat(), *_as_ranges(seen.days)))
    incident = Incident(
        id=f"retail-{hashlib.sha256(identity.encode()).hexdigest()[:24]}",
        fault=seen.fault,
        subject=seen.subject,
        owner=seen.owner,
        severity=seen.severity,
        opened_at=seen.at,
        failed_at=seen.at,
        page=seen.page,
        days=seen.days,
        affected=seen.days,
        told=routed(seen.owner, seen.severity, configured),
    )
    message = _message(incident, Event.opened, seen.at, seen.summary)
    return replace(state, incidents=(*state.incidents, incident), outbox=_post(state.outbox, message, incident.told))


def _again(state: State, known: Incident, seen: Failing, configured: Collection[Channel]) -> State:
    """An open incident fails once more: that is not news, unless it is worse than was told."""
    whole = not known.days or not seen.days
    worse = seen.severity > known.severity
    now = replace(
        known,
        days=EVERYTHING if whole else known.days | seen.days,
        affected=EVERYTHING if whole else known.affected | seen.days,
        failed_at=max(known.failed_at, seen.at),
        severity=max(known.severity, seen.severity),
        page=seen.page,
        told=known.told | routed(known.owner, seen.severity, configured) if worse else known.told,
    )
    outbox = _post(state.outbox, _message(now, Event.escalated, seen.at, seen.summary), now.told) if worse else None
    return replace(state, incidents=_replaced(state, known, now), outbox=state.outbox if outbox is None else outbox)


def _healed(state: State, seen: Healthy) -> State:
    for known in state.incidents:
        if not _concerns(known, seen) or seen.at < known.failed_at:
            continue
        left = known.days - seen.days
        if seen.days and (left or not known.days):
            state = replace(state, incidents=_replaced(state, known, replace(known, days=left)))
            continue
        message = _message(known, Event.recovered, seen.at, seen.summary)
        outbox = _post(state.outbox, message, known.told)
        state = replace(state, incidents=_replaced(state, known, None), outbox=outbox)
    return state


def _message(incident: Incident, event: Event, at: dt.datetime, summary: str) -> Message:
    return Message(
        incident=incident.id,
        event=event,
        at=at,
        since=incident.opened_at,
        fault=incident.fault,
        subject=incident.subject,
        owner=incident.owner,
        severity=incident.severity,
        summary=summary,
        page=incident.page,
        days=incident.affected,
    )


def _post(outbox: tuple[Waiting, ...], message: Message, channels: frozenset[Channel]) -> tuple[Waiting, ...]:
    return (*outbox, Waiting(message, channels)) if channels else outbox


def _without(outbox: tuple[Waiting, ...], channel: Channel, message: Message) -> tuple[Waiting, ...]:
    kept = (
        replace(entry, channels=entry.channels - {channel}) if entry.message.id == message.id else entry
        for entry in outbox
    )
    return tuple(entry for entry in kept if entry.channels)


def _replaced(state: State, old: Incident, new: Incident | None) -> tuple[Incident, ...]:
    kept = (new if incident is old else incident for incident in state.incidents)
    return tuple(incident for incident in kept if incident is not None)


def _lately(state: State, channel: Channel, now: dt.datetime) -> tuple[dt.datetime, ...]:
    return tuple(moment for moment in state.accepted.get(channel, ()) if now - moment < _RATE_WINDOW)
