"""The contract's judgement of one record. Every reason of every contract: ``ingest/test_reasons.py`` goes through Spark."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retail_platform.contracts import TRANSACTIONS
from retail_platform.contracts.judge import Judgement, judge
from retail_platform_tests.ingest.running import sale

_NOW = dt.datetime(2026, 11, 24, 12, 0, tzinfo=dt.UTC)
_START = dt.date(2010, 12, 1)


def _judged(value: bytes | None, timezone: str = "UTC") -> Judgement:
    return judge(TRANSACTIONS, value, _NOW, timezone, _START)


def _with(**changes: Any) -> bytes:
    return json.dumps(sale(event_time="2026-11-24T11:00:00Z") | changes).encode()


def test_a_valid_event_comes_back_as_text() -> None:
    found = _judged(_with(items=[{"product_id": "P", "quantity": "2", "unit_price": 1.50, "discount": 0}]))
    assert found.reasons == ()
    assert found.event is not None
    line = {
        "product_id": "P",
        "description": None,
        "category": None,
        "quantity": "2",
        "unit_price": "1.5",
        "discount": "0",
    }
    assert found.event["items"] == [line]


@pytest.mark.parametrize(
    "event_time",
    [
        "2026-02-30T10:00:00Z",
        "2026-01-01T24:00:00Z",
        "2026-01-01T10:00:60Z",
        "2026-01-01T10:00:00+19:00",
        "2026-01-01T10:00:00Z\n",
        "0000-01-01T10:00:00Z",
    ],
)
def test_a_time_that_is_on_no_clock_is_refused(event_time: str) -> None:
    assert _judged(_with(event_time=event_time)).reasons == ("type:event_time",)


def test_the_first_business_date_begins_in_the_business_timezone() -> None:
    early = _with(event_time="2010-11-30T23:30:00Z")
    assert _judged(early).reasons == ("event_time_before_start",)
    assert _judged(early, "Europe/Berlin").reasons == ()


def test_a_clock_may_be_five_minutes_ahead_and_no_more() -> None:
    assert _judged(_with(event_time="2026-11-24T12:05:00Z")).reasons == ()
    assert _judged(_with(event_time="2026-11-24T12:05:00.000001Z")).reasons == ("event_time_in_future",)


@pytest.mark.parametrize(
    "value",
    [
        _with() + b"]}",
        _with() + b'],"x":[' + _with(),
        _with(store_id="\ud800"),
        b"\xef\xbb\xbf" + _with(),
        _with()[:-1] + b', "x": NaN}',
        b'{"x":' * 100_000,
    ],
    ids=["closed twice", "two in a trench coat", "half a character", "byte order mark", "not a number", "too deep"],
)
def test_what_is_no_json_object_in_the_strict_sense_is_malformed(value: bytes) -> None:
    assert _judged(value).reasons == ("malformed_json",)


def test_of_a_key_that_stands_twice_the_last_counts() -> None:
    event = _judged(_with()[:-1] + b', "currency": "EUR"}').event
    assert event is not None
    assert event["currency"] == "EUR"


@pytest.mark.parametrize(
    ("amount", "reasons"),
    [
        ("99999999.9999", ()),
        ("1e2", ()),
        ("0.00010", ()),
        ("0.00001", ("range:items.unit_price",)),
        ("1e99999999999", ("range:items.unit_price",)),
        ("9" * 100_000, ("range:items.unit_price",)),
        ("1,5", ("type:items.unit_price",)),
        ("Infinity", ("range:items.unit_price",)),
    ],
)
def test_an_amount_is_exact_or_refused(amount: str, reasons: tuple[str, ...]) -> None:
    line = {"product_id": "P", "quantity": 1, "unit_price": amount, "discount": "0"}
    assert _judged(_with(items=[line])).reasons == reasons


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(
    st.binary(max_size=80)
    | _json.map(lambda value: json.dumps(value).encode())
    | st.tuples(st.sampled_from(sorted(sale())), _json).map(lambda changed: _with(**{changed[0]: changed[1]}))
)
def test_whatever_the_bytes_are_there_is_an_event_or_a_reason(value: bytes) -> None:
    found = _judged(value)
    assert (found.event is None) == bool(found.reasons)
    assert set(found.reasons) <= set(TRANSACTIONS.reasons)
