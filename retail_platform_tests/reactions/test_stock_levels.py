import datetime as dt
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from decimal import Decimal
from random import Random

from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from retail_platform.reactions.events import Line, Movement, Transaction
from retail_platform.reactions.stock import levels
from retail_platform.reactions.stock.levels import Reason, StockEvent, StockLevel

MORNING = dt.datetime(2026, 3, 2, 8, tzinfo=dt.UTC)


def change(event_id: str, minute: float, quantity: int, reason: Reason = "adjustment") -> StockEvent:
    return StockEvent(event_id, MORNING + dt.timedelta(minutes=minute), "S1", "P1", reason, quantity)


def run(
    arrivals: Iterable[StockEvent], parameters: levels.Parameters = levels.DEFAULT
) -> tuple[levels.State, list[StockLevel]]:
    """The state after the events in that order, stored as JSON in between, and all that came out."""
    stored, found = "null", []
    for event in arrivals:
        after, outputs = levels.step(levels.unpacked(json.loads(stored)), event, parameters)
        stored = json.dumps(after.packed())
        found += outputs
    return levels.unpacked(json.loads(stored)), found


def by_definition(events: Sequence[StockEvent]) -> int:
    """The last count and all that happened after it, counted anew."""
    counts = [event for event in events if event.reason == "count"]
    last = max(counts, key=lambda event: (event.event_time, event.event_id), default=None)
    moved = [event for event in events if event.reason != "count"]
    if last is None:
        return sum(event.quantity for event in moved)
    return last.quantity + sum(event.quantity for event in moved if event.event_time > last.event_time)


def transaction(**changed: object) -> Transaction:
    lines = tuple(
        Line(product, None, units, Decimal(1), Decimal(0)) for product, units in (("P1", 2), ("P2", 1), ("P1", 3))
    )
    given = {
        "event_id": "e",
        "event_type": "sale",
        "transaction_id": "T",
        "event_time": MORNING,
        "channel": "ecommerce",
        "store_id": "WEB",
        "currency": "USD",
        "lines": lines,
    }
    return Transaction(**(given | changed))  # type: ignore[arg-type]


def test_stock_is_the_last_count_and_what_moved_since() -> None:
    _, found = run(
        [change("a", 0, 5), change("b", 1, 40, "count"), change("c", 2, -3, "sale"), change("d", 3, 12, "receipt")]
    )
    assert [level.on_hand for level in found] == [5, 40, 37, 49]
    assert (found[-1].counted_quantity, found[-1].counted_at) == (40, MORNING + dt.timedelta(minutes=1))


def test_a_count_that_comes_late_resets_as_of_its_own_time() -> None:
    _, found = run([change("a", 0, 50), change("c", 2, -3, "sale"), change("b", 1, 40, "count")])
    assert [level.on_hand for level in found] == [50, 47, 37]


def test_an_event_that_a_count_has_seen_changes_nothing_when_it_comes_after_it() -> None:
    _, found = run([change("b", 1, 40, "count"), change("a", 0, -5, "sale"), change("at", 1, -1, "sale")])
    assert [(level.on_hand, level.change) for level in found] == [(40, 40), (40, 0), (40, 0)]


def test_an_online_order_picked_up_in_a_store_takes_that_stores_stock() -> None:
    online, picked = (
        levels.from_transaction(transaction()),
        levels.from_transaction(transaction(fulfilment_store_id="S1")),
    )
    assert [(event.key, event.quantity) for event in online] == [("WEB:P1", -5), ("WEB:P2", -1)]
    assert [(event.key, event.quantity) for event in picked] == [("S1:P1", -5), ("S1:P2", -1)]


def test_a_return_adds_to_the_stock() -> None:
    back = levels.from_transaction(transaction(event_type="return"))
    assert [(event.reason, event.quantity) for event in back] == [("return", 5), ("return", 1)]


def test_a_movement_is_a_change_of_its_own_store() -> None:
    found = levels.from_movement(Movement("m", MORNING, "S9", "P1", "transfer_out", -4))
    assert (found.key, found.reason, found.quantity) == ("S9:P1", "transfer_out", -4)


def test_a_level_says_what_it_is_to_another_system() -> None:
    _, (level,) = run([change("a", 0, 40, "count")])
    message = level.message()
    assert json.loads(json.dumps(message)) == message
    assert (message["stock_key"], message["event_time"], message["on_hand"]) == (
        "S1:P1",
        "2026-03-02T08:00:00.000000Z",
        40,
    )
    assert message["event_id"] == level.message()["event_id"] != replace(level, revision=2).message()["event_id"]


@st.composite
def histories(draw: st.DrawFn) -> list[StockEvent]:
    kinds = st.sampled_from(["sale", "count", "receipt", "adjustment"])
    drawn = draw(st.lists(st.tuples(kinds, st.integers(0, 12), st.integers(0, 30)), min_size=1, max_size=12))
    return [
        change(f"{number:02}", minute, -quantity if reason == "sale" else quantity, reason)
        for number, (reason, minute, quantity) in enumerate(drawn)
    ]


@hypothesis_settings(max_examples=150, deadline=None, derandomize=True)
@given(histories(), st.randoms(use_true_random=False))
def test_any_order_of_arrival_and_any_duplicates_give_the_same_stock(events: list[StockEvent], random: Random) -> None:
    arrivals = [*events, *random.choices(events, k=4)]
    random.shuffle(arrivals)
    state, found = run(arrivals)
    in_order, _ = run(sorted(events, key=lambda event: event.event_time))
    assert levels.on_hand(state) == levels.on_hand(in_order) == by_definition(events)
    assert len(found) == len(events) == state.revision
    assert sum(level.change for level in found) == found[-1].on_hand


@hypothesis_settings(max_examples=100, deadline=None, derandomize=True)
@given(histories())
def test_folding_changes_no_level_of_events_that_come_in_order(events: list[StockEvent]) -> None:
    in_order = sorted(events, key=lambda event: (event.event_time, event.reason == "count", event.event_id))
    few = levels.Parameters("few", dt.timedelta(minutes=3), 3)
    state, found = run(in_order, few)
    if not state.refused:
        assert found[-1].on_hand == by_definition(events)
        assert replace(found[-1], refused=0) == run(in_order)[1][-1]
    assert len(state.changes) <= 3


def test_an_event_from_before_the_window_is_refused_and_counted_and_the_next_count_mends() -> None:
    week = 7 * 24 * 60
    state, found = run([change("a", 0, 5), change("b", week + 1, 5), change("a", 0, 5), change("late", -1, 5)])
    assert (levels.on_hand(state), state.refused, len(found)) == (10, 2, 2)
    _, (level,) = levels.step(state, change("c", week + 2, 15, "count"))
    assert (level.on_hand, level.refused) == (15, 2)


@hypothesis_settings(max_examples=20, deadline=None, derandomize=True)
@given(histories())
def test_a_stock_event_comes_back_from_json_as_it_was(events: list[StockEvent]) -> None:
    assert [levels.unpacked_event(json.loads(json.dumps(event.packed()))) for event in events] == events
