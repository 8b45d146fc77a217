"""Incidents: told once each, in order, whatever fails, heals, and is down in between."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from dataclasses import dataclass, field, replace
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from retail_platform.alerts.channels import RefusedError, UnreachableError
from retail_platform.alerts.delivery import deliver
from retail_platform.alerts.incidents import (
    EVERYTHING,
    Days,
    Event,
    Failing,
    Fault,
    Healthy,
    Message,
    State,
    observe,
    only_configured,
)
from retail_platform.alerts.routing import ROUTES, Channel, Owner, Severity

NOON = dt.datetime(2026, 3, 2, 12, tzinfo=dt.UTC)
CHANNELS = tuple(Channel)
DAYS = [dt.date(2026, 3, day) for day in range(1, 5)]
JSON = TypeAdapter(State)


def at(minutes: float) -> dt.datetime:
    return NOON + dt.timedelta(minutes=minutes)


def failing(minutes: float, *days: dt.date, severity: Severity = Severity.critical, subject: str = "a") -> Failing:
    return Failing(
        Fault.check, subject, at(minutes), severity, Owner.data_platform, "broken", "/assets/a", frozenset(days)
    )


def healthy(minutes: float, *days: dt.date, subject: str = "a") -> Healthy:
    return Healthy(Fault.check, subject, at(minutes), "fine", frozenset(days))


def told(*observations: Failing | Healthy) -> list[tuple[str, Days]]:
    """What the log channel is told."""
    state = State()
    for seen in observations:
        state = observe(state, seen, [Channel.log])
    return [(entry.message.event.value, entry.message.days) for entry in state.outbox]


@dataclass
class Sender:
    """A channel that is up, down, or refuses; it keeps what it accepted and when."""

    channel: Channel
    mood: str = "up"
    accepted: list[tuple[dt.datetime, Message]] = field(default_factory=list)
    now: dt.datetime = NOON

    def send(self, message: Message) -> None:
        if self.mood == "down":
            raise UnreachableError(f"{self.channel} does not answer")
        if self.mood == "refuses":
            raise RefusedError(f"{self.channel} answered 400")
        self.accepted.append((self.now, message))


def test_a_failure_that_goes_on_is_told_once_and_its_recovery_once() -> None:
    events = told(failing(0), failing(1), failing(2), healthy(3), healthy(4))
    assert events == [("opened", EVERYTHING), ("recovered", EVERYTHING)]


def test_a_failure_after_a_recovery_is_a_new_incident() -> None:
    assert [event for event, _ in told(failing(0), healthy(1), failing(2))] == ["opened", "recovered", "opened"]


def test_a_good_day_does_not_end_the_incident_of_a_bad_one() -> None:
    assert [event for event, _ in told(failing(0, DAYS[0]), healthy(1, DAYS[1]))] == ["opened"]


def test_another_bad_day_is_an_incident_of_its_own() -> None:
    events = told(failing(0, DAYS[0]), failing(1, DAYS[1]), healthy(2, DAYS[0]))
    assert events == [
        ("opened", frozenset({DAYS[0]})),
        ("opened", frozenset({DAYS[1]})),
        ("recovered", frozenset({DAYS[0]})),
    ]


def test_a_good_day_does_not_end_what_failed_as_a_whole() -> None:
    assert [event for event, _ in told(failing(0), healthy(1, DAYS[0]))] == ["opened"]


def test_a_bad_range_is_over_when_the_last_of_its_days_is_good() -> None:
    days = frozenset(DAYS[:3])
    one_by_one = [healthy(number, day) for number, day in enumerate(DAYS[:3], start=1)]
    assert told(failing(0, *days), *one_by_one[:2]) == [("opened", days)]
    assert told(failing(0, *days), *one_by_one) == [("opened", days), ("recovered", days)]


def test_a_bad_range_that_holds_a_day_already_told_is_the_same_incident() -> None:
    assert [event for event, _ in told(failing(0, DAYS[0]), failing(1, *DAYS), healthy(2, DAYS[0]))] == ["opened"]


def test_what_becomes_worse_is_told_again_and_to_those_who_hear_only_of_the_worse() -> None:
    state = observe(State(), failing(0, severity=Severity.warning), CHANNELS)
    state = observe(state, failing(1, severity=Severity.critical), CHANNELS)
    state = observe(state, healthy(2), CHANNELS)
    paged = [entry.message.event for entry in state.outbox if Channel.pagerduty in entry.channels]
    logged = [entry.message.event for entry in state.outbox if Channel.log in entry.channels]
    assert paged == [Event.escalated, Event.recovered]
    assert logged == [Event.opened, Event.escalated, Event.recovered]


def test_a_success_from_before_the_failure_ends_nothing() -> None:
    assert [event for event, _ in told(failing(5), healthy(4))] == ["opened"]


def test_a_channel_is_sent_no_more_in_a_minute_than_it_may_be_and_the_rest_later() -> None:
    state = State()
    for number in range(5):
        state = observe(state, failing(0, subject=str(number)), [Channel.log])
    log = Sender(Channel.log)
    state, _ = deliver(state, [log], at(0), 2, lambda: True)
    assert len(log.accepted) == 2
    state, _ = deliver(state, [log], at(0.5), 2, lambda: True)
    assert len(log.accepted) == 2
    for minutes in (1, 2):
        state, _ = deliver(state, [log], at(minutes), 2, lambda: True)
    assert [message.subject for _, message in log.accepted] == ["0", "1", "2", "3", "4"]


def test_a_message_that_a_channel_refuses_does_not_stop_the_next_one() -> None:
    class Picky(Sender):
        def send(self, message: Message) -> None:
            self.mood = "refuses" if message.subject == "bad" else "up"
            super().send(message)

    state = observe(observe(State(), failing(0, subject="bad"), [Channel.log]), failing(1), [Channel.log])
    picky = Picky(Channel.log)
    state, problems = deliver(state, [picky], at(2), 10, lambda: True)
    assert [message.subject for _, message in picky.accepted] == ["a"]
    assert [entry.message.subject for entry in state.outbox] == ["bad"]
    assert len(problems) == 1


def test_what_waits_for_a_channel_that_was_unset_is_dropped() -> None:
    state = only_configured(observe(State(), failing(0), CHANNELS), [Channel.log])
    assert [entry.channels for entry in state.outbox] == [frozenset({Channel.log})]


def test_years_of_days_stay_short_in_the_cursor_and_come_back_as_they_were() -> None:
    many = [dt.date(2010, 12, 1) + dt.timedelta(days=number) for number in range(5000)]
    state = observe(State(), failing(0, *many), [Channel.log])
    written = JSON.dump_json(state)
    assert len(written) < 2000
    assert JSON.validate_json(written) == state


def test_every_owner_and_every_severity_has_its_channels_and_worse_never_reaches_fewer() -> None:
    assert set(ROUTES) == set(Owner)
    for severities in ROUTES.values():
        assert set(severities) == set(Severity)
        assert all(severities[low] <= severities[high] for low, high in pairwise(Severity))
        assert all(Channel.log in channels for channels in severities.values())


MOODS = st.fixed_dictionaries({channel: st.sampled_from(["up", "down", "refuses"]) for channel in CHANNELS})
SEEN = st.tuples(
    st.sampled_from(["a", "b"]),
    st.booleans(),
    st.sampled_from(Severity),
    st.frozensets(st.sampled_from(DAYS), max_size=2),
)
TICKS = st.lists(st.tuples(st.lists(SEEN, max_size=4), MOODS), max_size=12)
UP = dict.fromkeys(CHANNELS, "up")


class Sensor:
    """What the sensor does at a tick, with its state as JSON in between; it notes what each channel has to hear."""

    def __init__(self, most_per_minute: int) -> None:
        self.cursor, self.most = JSON.dump_json(State()), most_per_minute
        self.senders = [Sender(channel) for channel in CHANNELS]
        self.owed: dict[Channel, set[str]] = defaultdict(set)

    def tick(self, number: int, seen: list[Failing | Healthy], moods: dict[Channel, str]) -> State:
        state = JSON.validate_json(self.cursor)
        for observation in seen:
            state = observe(state, observation, CHANNELS)
        for entry in state.outbox:
            for channel in entry.channels:
                self.owed[channel].add(entry.message.id)
        for sender in self.senders:
            sender.mood, sender.now = moods[sender.channel], at(number)
        state, _ = deliver(state, self.senders, at(number), self.most, lambda: True)
        self.cursor = JSON.dump_json(state)
        return state


def in_order(events: list[Event]) -> bool:
    """Opened at most once and first, recovered at most once and last, something before it."""
    middle = events[events[0] is Event.opened : len(events) - (events[-1] is Event.recovered)]
    return events[0] is not Event.recovered and set(middle) <= {Event.escalated}


@settings(deadline=None, max_examples=100)
@given(TICKS, st.integers(1, 3))
def test_whatever_happens_every_channel_hears_each_incident_once_in_order_and_never_early(
    ticks: list[tuple[list[tuple[str, bool, Severity, frozenset[dt.date]]], dict[Channel, str]]], most: int
) -> None:
    sensor = Sensor(most)
    for number, (drawn, moods) in enumerate(ticks):
        seen = [
            failing(number - 0.5 + place / 10, *days, severity=severity, subject=subject)
            if fails
            else healthy(number - 0.5 + place / 10, *days, subject=subject)
            for place, (subject, fails, severity, days) in enumerate(drawn)
        ]
        sensor.tick(number, seen, moods)
    for number in range(len(ticks), len(ticks) + 60):
        last = sensor.tick(number, [], UP)

    assert last.outbox == ()
    for sender in sensor.senders:
        heard = defaultdict(list)
        for moment, message in sender.accepted:
            assert message.at <= moment
            heard[message.incident].append(message.event)
        ids = [message.id for _, message in sender.accepted]
        assert len(ids) == len(set(ids))
        assert set(ids) == sensor.owed[sender.channel]
        assert all(in_order(events) for events in heard.values())
        if sender.channel is Channel.log:
            assert all(events[0] is Event.opened for events in heard.values())
            still_open = {incident.id for incident in last.incidents}
            assert {name for name, events in heard.items() if Event.recovered not in events} == still_open


@settings(deadline=None, max_examples=100)
@given(st.lists(st.booleans(), max_size=20))
def test_openings_and_recoveries_are_the_edges_of_what_was_seen(fails: list[bool]) -> None:
    events = [event for event, _ in told(*(failing(n) if broken else healthy(n) for n, broken in enumerate(fails)))]
    edges = [now for before, now in pairwise([False, *fails]) if before != now]
    assert events == ["opened" if broken else "recovered" for broken in edges]


def test_two_ticks_that_see_the_same_give_the_same_incident() -> None:
    """Whose cursor was lost between acceptance and the end of its tick sends again: the receiver can tell by the id."""
    first, second = (observe(State(), failing(0, DAYS[0]), [Channel.log]) for _ in range(2))
    assert first == second
    other = observe(State(), replace(failing(0, DAYS[0]), subject="b"), [Channel.log])
    assert first.outbox[0].message.id != other.outbox[0].message.id
