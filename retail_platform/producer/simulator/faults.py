"""What goes wrong between a till and Kafka: records that arrive twice, overtaken by others, or broken."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from heapq import heappop, heappush
from random import Random
from typing import Any

from retail_platform.contracts import INVENTORY, TRANSACTIONS
from retail_platform.producer.message import Message, encode
from retail_platform.producer.simulator.plan import Plan

_OVERTAKEN_BY = (2, 50)
_NEAR = (1, 20)
_FAR = (1_000, 20_000)

Break = Callable[[dict[str, Any], bytes, Random], bytes | None]


def with_faults(messages: Iterable[Message], plan: Plan, random: Random) -> Iterator[Message]:
    """The messages with the plan's share of malformed, overtaken and duplicated ones; late and broken ones come once.

    Held messages wait by position, so a duplicate is the same bytes a few or many thousand messages later.
    """
    overtaken = plan.malformed + plan.out_of_order
    doubled = overtaken + plan.duplicates
    held: list[tuple[int, int, Message]] = []
    for position, message in enumerate(messages):
        drawn = random.random()
        if message.label not in ("transaction", "movement") or drawn >= doubled:
            yield message
        elif drawn < plan.malformed:
            yield malformed(message, random)
        elif drawn < overtaken:
            waits = random.randint(*_OVERTAKEN_BY)
            heappush(held, (position + waits, position, replace(message, label="out_of_order")))
        else:
            yield message
            waits = random.randint(*random.choice((_NEAR, _FAR)))
            heappush(held, (position + waits, position, replace(message, label="duplicate")))
        while held and held[0][0] <= position:
            yield heappop(held)[2]
    while held:
        yield heappop(held)[2]


def malformed(message: Message, random: Random) -> Message:
    """The message broken in one of the ways that its topic can be, labelled with the way."""
    kind = random.choice(tuple(_ANY_TOPIC if message.topic == INVENTORY.topic else _ANY_TOPIC | _TRANSACTIONS_ONLY))
    value = message.value or b""
    broken = (_ANY_TOPIC | _TRANSACTIONS_ONLY)[kind](json.loads(value), value, random)
    return replace(message, value=broken, label=f"malformed:{kind}")


def _not_json(_event: dict[str, Any], value: bytes, _random: Random) -> bytes:
    return b"HTTP/1.1 502 Bad Gateway\r\n\r\n" + value[:20]


def _truncated(_event: dict[str, Any], value: bytes, random: Random) -> bytes:
    return value[: random.randint(1, len(value) - 1)].decode(errors="ignore").encode()


def _invalid_utf8(_event: dict[str, Any], value: bytes, _random: Random) -> bytes:
    return value.replace(b'"store_id":"', b'"store_id":"\xff\xfe', 1)


def _missing_field(event: dict[str, Any], _value: bytes, random: Random) -> bytes:
    contract = TRANSACTIONS if "items" in event else INVENTORY
    event.pop(random.choice([entry.name for entry in contract.fields if entry.required]))
    return encode(event)


def _wrong_type(event: dict[str, Any], _value: bytes, random: Random) -> bytes:
    wrong = random.choice(({"event_id": "not-a-uuid"}, {"event_time": "yesterday"}, {"quantity": "two"}))
    if "items" in event and "quantity" in wrong:
        event["items"][0] |= wrong
        return encode(event)
    return encode(event | wrong)


def _wrong_enum(event: dict[str, Any], _value: bytes, random: Random) -> bytes:
    if "items" not in event:
        return encode(event | {"movement": "teleport"})
    return encode(event | random.choice(({"event_type": "void"}, {"channel": "fax"}, {"currency": "ZZZ"})))


def _negative_price(event: dict[str, Any], _value: bytes, _random: Random) -> bytes:
    event["items"][0]["unit_price"] = "-1.00"
    return encode(event)


def _too_many_items(event: dict[str, Any], _value: bytes, _random: Random) -> bytes:
    return encode(event | {"items": event["items"][:1] * 1001})


def _future_event_time(event: dict[str, Any], _value: bytes, _random: Random) -> bytes:
    return encode(event | {"event_time": "2099-12-31T23:59:59.000+00:00"})


def _tombstone(_event: dict[str, Any], _value: bytes, _random: Random) -> None:
    return None


_ANY_TOPIC: dict[str, Break] = {
    "not_json": _not_json,
    "truncated": _truncated,
    "invalid_utf8": _invalid_utf8,
    "missing_field": _missing_field,
    "wrong_type": _wrong_type,
    "wrong_enum": _wrong_enum,
    "future_event_time": _future_event_time,
    "tombstone": _tombstone,
}
_TRANSACTIONS_ONLY: dict[str, Break] = {"negative_price": _negative_price, "too_many_items": _too_many_items}
