"""The contracts' rules in plain Python: a second opinion on what Spark decides, for tests only."""

from __future__ import annotations

import datetime as dt
import json
import re
import uuid
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from retail_platform.contracts import TOPICS
from retail_platform.contracts.model import (
    Amount,
    Degrees,
    Enumeration,
    Field,
    Instant,
    Integer,
    Record,
    Records,
    Text,
    TopicContract,
    Uuid,
)
from retail_platform.producer.message import Message

_CONTRACTS = {contract.topic: contract for contract in TOPICS}
_MONEY = re.compile(r"\d{1,14}(\.\d{1,4})?")


def problems(message: Message) -> list[str]:
    """Everything that is wrong with a message; nothing when the contract accepts it."""
    contract = _CONTRACTS[message.topic]
    if message.value is None:
        return ["null_value"]
    if len(message.value) > contract.max_bytes:
        return ["oversized"]
    try:
        event = json.loads(message.value.decode(), parse_float=Decimal)
    except ValueError as error:
        return [str(error)]
    if not isinstance(event, dict):
        return ["not an object"]
    return list(_object(contract.fields, event, "")) or list(_rules(contract, event))


def _object(fields: tuple[Field, ...], value: dict[str, Any], path: str) -> Iterator[str]:
    for entry in fields:
        name = f"{path}{entry.name}"
        given = value.get(entry.name)
        if given is None:
            if entry.required:
                yield f"missing:{name}"
        elif isinstance(entry.type, Record):
            yield from _object(entry.type.fields, given, f"{name}.") if isinstance(given, dict) else [f"type:{name}"]
        elif isinstance(entry.type, Records):
            if not isinstance(given, list) or not entry.type.minimum <= len(given) <= entry.type.maximum:
                yield f"type:{name}"
                continue
            for item in given:
                yield from _object(entry.type.fields, item, f"{name}.")
        elif not _scalar(entry.type, given):
            yield f"value:{name}={given!r}"


def _scalar(kind: object, value: Any) -> bool:  # noqa: PLR0911  one a field type
    match kind:
        case Text(max_length=limit):
            return isinstance(value, str) and bool(value.strip()) and len(value) <= limit
        case Uuid():
            return str(uuid.UUID(value)) == value if re.fullmatch(r"[0-9a-f-]{36}", str(value)) else False
        case Enumeration(values=values):
            return value in values
        case Instant():
            try:
                moment = dt.datetime.fromisoformat(value)
            except (TypeError, ValueError):
                return False
            return moment.utcoffset() is not None and moment < dt.datetime.now(dt.UTC)
        case Integer(minimum=low, maximum=high):
            return isinstance(value, int) and low <= value <= high
        case Amount(minimum=low, maximum=high):
            if not isinstance(value, str) or not _MONEY.fullmatch(value):
                return False
            return Decimal(low or "-1e30") <= Decimal(value) <= Decimal(high or "1e30")
        case Degrees(minimum=low, maximum=high):
            return low <= value <= high
    raise AssertionError(f"a field type that this validator does not know: {kind}")


def _rules(contract: TopicContract, event: dict[str, Any]) -> Iterator[str]:
    for rule in contract.rules:
        condition = re.sub(r"(?<![<>])=", "==", rule.violated)
        for values in event.get("items", []) if rule.per_line else [event]:
            names = {name: f"values[{name!r}]" for name in re.findall(r"{(\w+)}", condition)}
            typed = {
                name: Decimal(values[name]) if name in ("unit_price", "discount") else values[name] for name in names
            }
            if eval(condition.format(**names), {"values": typed}):  # noqa: S307  our own contract's expression
                yield rule.reason
