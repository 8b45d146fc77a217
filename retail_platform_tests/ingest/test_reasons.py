"""Every reason code of every contract, provoked through real Kafka and Spark; and junk, which must never stop anything."""

from __future__ import annotations

import copy
import datetime as dt
import json
import random
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from retail_platform.contracts import INVENTORY, QUARANTINE_EVENTS, TRANSACTIONS
from retail_platform.contracts.model import (
    Amount,
    Degrees,
    Enumeration,
    Instant,
    Integer,
    Leaf,
    Record,
    Records,
    Text,
    TopicContract,
    Uuid,
)
from retail_platform.producer import online_retail
from retail_platform.settings import Settings
from retail_platform_tests.ingest.running import deliver, drain, message, rows, sale

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Case = tuple[str, bytes | None]


def _movement(**changes: Any) -> dict[str, Any]:
    now = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=5)
    event = {
        "event_id": str(uuid.uuid4()),
        "event_time": now.isoformat(),
        "store_id": "S001",
        "product_id": "P1",
        "movement": "receipt",
        "quantity": 5,
    }
    return event | changes


VALID = {TRANSACTIONS.topic: sale, INVENTORY.topic: _movement}


def _with(event: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """The event with the value at a dotted path, in its first line when the path goes through an array; ... removes."""
    changed = copy.deepcopy(event)
    *parents, name = path.split(".")
    place = changed
    for parent in parents:
        place = place.setdefault(parent, {})
        place = place[0] if isinstance(place, list) else place
    if value is ...:
        place.pop(name, None)
    else:
        place[name] = value
    return changed


def _leaf_cases(leaf: Leaf) -> Iterator[tuple[str, Any]]:
    """(reason, a value that must give it) for one scalar field; ``...`` stands for leaving the field out."""
    if leaf.required:
        yield f"missing:{leaf.path}", ...
        yield f"missing:{leaf.path}", None
    match leaf.type:
        case Text(max_length=limit):
            yield f"type:{leaf.path}", {"a": 1}
            yield f"range:{leaf.path}", "x" * (limit + 1)
            yield f"range:{leaf.path}", " \t "
        case Uuid():
            yield f"type:{leaf.path}", "123"
            yield f"type:{leaf.path}", f"{uuid.uuid4()}\n"
        case Instant():
            for wrong in (
                "yesterday",
                "2026-01-01",
                "2026-01-01T10:00:00",
                "2026-02-30T10:00:00Z",
                "2026-01-01T10:00:00Z\n",
                1767225600,
            ):
                yield f"type:{leaf.path}", wrong
        case Enumeration():
            yield f"enum:{leaf.path}", "NOPE"
            yield f"enum:{leaf.path}", 7
        case Integer(maximum=high):
            yield f"type:{leaf.path}", "two"
            yield f"type:{leaf.path}", 1.5
            yield f"range:{leaf.path}", high + 1
            yield f"range:{leaf.path}", 10**30
        case Amount():
            yield f"type:{leaf.path}", "ten"
            yield f"type:{leaf.path}", [1]
            yield f"range:{leaf.path}", "-0.01"
            yield f"range:{leaf.path}", "1.00001"
            yield f"range:{leaf.path}", "1e40000000"
        case Degrees(maximum=high):
            yield f"type:{leaf.path}", "north"
            yield f"range:{leaf.path}", high + 0.5


def _cases(contract: TopicContract) -> Iterator[Case]:
    event = VALID[contract.topic]()

    def raw(changed: dict[str, Any]) -> bytes:
        return json.dumps(changed).encode()

    yield "null_value", None
    yield "invalid_utf8", raw(event).replace(b"S001", b"\xff\xfe1")
    yield "oversized", raw(event | {"padding": "x" * contract.max_bytes})
    whole, mark = raw(event), b'{"event_id":"~e"}'
    for broken in (
        *(b"", b"not json", b"[]", b"null", b"7", whole[:-1], whole + b"x", whole + whole, b"[" + whole + b"]"),
        *(
            whole + b"]}",
            whole + b'],"e":[' + whole,
            whole + b'],"~e":[' + whole,
            whole + b"," + mark + b'],"x":[' + whole,
        ),
        *(whole + b",", whole + b"," + mark, whole + b'],"\\u007ee":[' + whole, raw(event | {"store_id": "\ud800"})),
    ):
        yield "malformed_json", broken
    ahead = dt.datetime.now(dt.UTC) + dt.timedelta(hours=2)
    yield "event_time_in_future", raw(event | {"event_time": ahead.isoformat()})
    yield "event_time_before_start", raw(event | {"event_time": "2009-01-01T00:00:00Z"})
    for entry in contract.fields:
        if isinstance(entry.type, Record):
            yield f"missing:{entry.name}", raw(_with(event, entry.name, ...))
            yield f"type:{entry.name}", raw(event | {entry.name: "text"})
        if isinstance(entry.type, Records):
            yield f"missing:{entry.name}", raw(event | {entry.name: []})
            yield f"type:{entry.name}", raw(event | {entry.name: {"0": 1}})
            yield f"type:{entry.name}", raw(event | {entry.name: [1]})
            yield "too_many_items", raw(event | {entry.name: event[entry.name][:1] * (entry.type.maximum + 1)})
    for leaf in (*contract.header_leaves, *contract.line_leaves):
        for reason, value in _leaf_cases(leaf):
            yield reason, raw(_with(event, leaf.path, value))


RULES: list[tuple[str, str, dict[str, Any]]] = [
    (TRANSACTIONS.topic, "range:items.discount", {"quantity": 1, "unit_price": "1", "discount": "1.01"}),
    (TRANSACTIONS.topic, "range:items.amount", {"quantity": 10_000_000, "unit_price": "100000000", "discount": "0"}),
]


def _all_cases() -> list[tuple[str, str, bytes | None]]:
    found = [
        (contract.topic, reason, value) for contract in (TRANSACTIONS, INVENTORY) for reason, value in _cases(contract)
    ]
    for topic, reason, line in RULES:
        found.append((topic, reason, json.dumps(sale(items=[{"product_id": "P", **line}])).encode()))
    found.append((INVENTORY.topic, "range:quantity", json.dumps(_movement(movement="count", quantity=-1)).encode()))
    return found


def test_there_is_a_case_for_every_reason_of_every_contract() -> None:
    provoked = {(topic, reason) for topic, reason, _ in _all_cases()}
    for contract in (TRANSACTIONS, INVENTORY):
        assert {reason for topic, reason in provoked if topic == contract.topic} == set(contract.reasons)


def test_each_broken_event_is_refused_for_its_reason_with_its_raw_bytes(
    spark: SparkSession, lake_settings: Settings
) -> None:
    cases = _all_cases()
    deliver(
        lake_settings,
        [message(value, key=f"case-{number}", topic=topic) for number, (topic, _, value) in enumerate(cases)],
    )
    drain(spark, lake_settings)
    found = {key: (topic, value, set(why)) for key, topic, value, why in rows(
        lake_settings, QUARANTINE_EVENTS, "select key, topic, value, reasons from t"
    )}  # fmt: skip
    wrong = []
    for number, (topic, reason, value) in enumerate(cases):
        seen = found.get(f"case-{number}".encode())
        if seen is None or seen[:2] != (topic, value) or reason not in seen[2]:
            wrong.append((topic, reason, (value or b"")[:300], seen and seen[2]))
    assert wrong == []
    assert len(found) == len(cases)


def test_all_reasons_that_apply_are_given(spark: SparkSession, lake_settings: Settings) -> None:
    event = sale(channel="telex", currency="XXX", store_id="")
    event["items"][1]["quantity"] = 0
    deliver(lake_settings, [message(event)])
    drain(spark, lake_settings)
    ((found,),) = rows(lake_settings, QUARANTINE_EVENTS, "select reasons from t")
    assert found == ["enum:channel", "range:store_id", "enum:currency", "range:items.quantity"]


# --- Junk ------------------------------------------------------------------------------------------------------------

_json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@st.composite
def _mutated(draw: st.DrawFn) -> bytes:
    """A valid event with one field replaced by anything, or a byte flipped, or cut short."""
    event = sale()
    leaves = [leaf.path for leaf in (*TRANSACTIONS.header_leaves, *TRANSACTIONS.line_leaves)]
    kind = draw(st.sampled_from(["field", "byte", "cut", "deep"]))
    if kind == "field":
        return json.dumps(_with(event, draw(st.sampled_from(leaves)), draw(_json_values))).encode()
    if kind == "deep":
        depth = draw(st.integers(1, 2000))
        return json.dumps(event)[:-1].encode() + b',"x":' + b"[" * depth + b"]" * depth + b"}"
    raw = bytearray(json.dumps(event).encode())
    place = draw(st.integers(0, len(raw) - 1))
    if kind == "cut":
        return bytes(raw[:place])
    raw[place] = draw(st.integers(0, 255))
    return bytes(raw)


@given(
    junk=st.lists(
        st.binary(max_size=60) | _json_values.map(lambda v: json.dumps(v).encode()) | _mutated(),
        min_size=100,
        max_size=200,
    )
)
@hypothesis_settings(max_examples=4, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_whatever_the_bytes_are_they_are_valid_or_refused_for_known_reasons(
    spark: SparkSession, junk: list[bytes]
) -> None:
    found = _judge(spark, junk)
    assert len(found) == len(junk)
    known = set(TRANSACTIONS.reasons)
    for value, (reasons, event_id) in zip(junk, found, strict=True):
        assert (event_id is not None) == (reasons is None), value
        assert reasons is None or (reasons and set(reasons) <= known), value


@pytest.mark.parametrize("seed", range(3))
def test_the_fast_and_the_slow_path_agree(spark: SparkSession, seed: int) -> None:
    """A valid event stays valid whatever harmless thing makes the fast path hesitate (here: a text that begins with [)."""
    picked = random.Random(seed)
    harmless = ["[sale] mug", "{x}", "\u00a0tea", "-", "0", "true", "null"]
    events = [_with(sale(), "items.description", picked.choice(harmless)) for _ in range(20)]
    assert all(reasons is None for reasons, _ in _judge(spark, [json.dumps(event).encode() for event in events]))


def _judge(spark: SparkSession, values: list[bytes]) -> list[tuple[list[str] | None, str | None]]:
    """What the ingest decides of each value: (reasons, event_id)."""
    from pyspark.sql import functions as F  # noqa: N812

    from retail_platform.ingest.transforms import BusinessCalendar, validated

    schema = (
        "topic string, partition int, offset bigint, append_time timestamp, key binary, value binary, "
        "headers array<string>"
    )
    now = dt.datetime.now(dt.UTC)
    data = [(TRANSACTIONS.topic, 0, number, now, b"", value, None) for number, value in enumerate(values)]
    records = spark.createDataFrame(data, schema)
    judged = validated(records, TRANSACTIONS, BusinessCalendar("UTC", dt.date(2010, 12, 1)))
    found = judged.select("offset", "reasons", F.col("e.event_id").alias("id")).orderBy("offset").collect()
    return [(row["reasons"], row["id"]) for row in found]


_LINES: list[tuple[dict[str, Any], list[str] | None]] = [
    ({"quantity": "1\u00012"}, ["type:items.quantity"]),
    ({"unit_price": "5\u00015"}, ["type:items.unit_price"]),
    ({"discount": "0\u00010"}, ["type:items.discount"]),
    ({"discount": "0x0"}, ["type:items.discount"]),
    ({"unit_price": "2.50\n"}, ["type:items.unit_price"]),
    ({"product_id": "\u0002"}, None),
    ({"product_id": None}, ["missing:items.product_id"]),
    ({"description": "A\u0001" + "x" * 500}, ["range:items.description"]),
    ({"description": "A" * 500}, None),
    ({"description": "A" * 501}, ["range:items.description"]),
    ({"description": None}, None),
    ({"description": ""}, ["range:items.description"]),
    ({"quantity": 99999, "unit_price": "100000000"}, None),
    ({"quantity": 10_000_000, "unit_price": "9999999"}, None),
    ({"quantity": 1, "unit_price": "0", "discount": "0.01"}, ["range:items.discount"]),
]


def test_the_shortcut_for_plain_lines_decides_nothing_by_itself(spark: SparkSession) -> None:
    plain = {"product_id": "P1", "quantity": 1, "unit_price": "2.50", "discount": "0"}
    cases = [(items, why) for line, why in _LINES for items in ([{**plain, **line}], [plain, {**plain, **line}, plain])]
    found = _judge(spark, [json.dumps(sale(items=items)).encode() for items, _ in cases])
    assert [(items, why) for (items, _), (why, _) in zip(cases, found, strict=True)] == cases


def test_a_line_that_is_null_is_refused(spark: SparkSession) -> None:
    value = json.dumps(sale(items=[None, {"product_id": "P1", "quantity": 1, "unit_price": "1", "discount": "0"}]))
    assert _judge(spark, [value.encode()])[0][0] == ["type:items"]


def test_ordinary_receipts_take_the_shortcut(spark: SparkSession) -> None:
    """What makes the ingest fast: nearly all lines are seen to be valid without looking at each."""
    from pyspark.sql import functions as F  # noqa: N812

    from retail_platform.ingest.validation import _plain_lines, parsed, unwrapped

    values = [sent.value for sent in online_retail.messages(online_retail.read(online_retail.sample_file()))[:500]]
    rows = spark.createDataFrame([(bytearray(value or b""),) for value in values], "value binary")
    seen = unwrapped(rows.withColumn("parsed", F.explode(parsed(TRANSACTIONS, F.col("value")))), TRANSACTIONS)
    plain = seen.where("e.items is not null").select(F.expr(" and ".join(_plain_lines(TRANSACTIONS))).alias("plain"))
    shares = [row["plain"] for row in plain.collect()]
    assert sum(shares) > 0.9 * len(shares)
