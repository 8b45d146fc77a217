"""What a contract says of one raw record, in plain Python: every reason against it, or the event as text.

This is where reasons come from. The stream asks it only of the few records that its compiled questions
(``ingest/validation.py``) do not settle; whoever works record by record can ask it of each.

Every number stays the text that it was in the JSON: no value can make the parser build a huge one.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import cache
from typing import Any, NoReturn
from zoneinfo import ZoneInfo

from retail_platform.contracts.model import (
    MAX_CLOCK_AHEAD_SECONDS,
    Amount,
    Degrees,
    Enumeration,
    Instant,
    Integer,
    Leaf,
    Record,
    Records,
    Scalar,
    Text,
    TopicContract,
    Uuid,
)

#: What a whole text must match to be of a type, for Python and for Spark (``ingest/validation.py``).
UUID = r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
RFC_3339 = r"([0-9]{4}-[0-9]{2}-[0-9]{2})[T ]([0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?(Z|[+-][0-9]{2}:[0-9]{2})"
SHORT_NUMBER = r"[+-]?[0-9]{1,20}(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?"

_MOST_HOURS_FROM_UTC = 18
_BLANK = re.compile(r"[ \t\n\x0b\f\r]*")
_WHOLE = re.compile(r"[ \t\n\x0b\f\r]*[+-]?[0-9]+[ \t\n\x0b\f\r]*")
_ANY_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?|-?Infinity")
_MOST_INTEGER_DIGITS = 20
_FOUR_PLACES = Decimal("0.0001")
_MONEY_LIMIT = Decimal(10) ** 14

#: A typed value of a leaf; ``None`` where it is absent or not valid.
Typed = str | int | float | Decimal | dt.datetime | None


@dataclass(frozen=True, slots=True)
class Judgement:
    """``reasons``, in the contract's order; none when the record is valid. ``event``: its leaves as text, if it is."""

    reasons: tuple[str, ...]
    event: dict[str, Any] | None = None


class _Number(str):
    """A JSON number, as it was written."""

    __slots__ = ()


def judge(
    contract: TopicContract, value: bytes | None, append_time: dt.datetime, timezone: str, start_date: dt.date
) -> Judgement:
    """Judge one record.

    ``append_time`` is the broker's, in UTC with its zone. ``timezone`` and ``start_date`` say which business date an
    event has, and which is the first there may be.
    """
    if value is None:
        return Judgement(("null_value",))
    if len(value) > contract.max_bytes:
        return Judgement(("oversized",))
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        return Judgement(("invalid_utf8",))
    document = _document(text)
    if document is None:
        return Judgement(("malformed_json",))
    found = {
        *_shape_reasons(contract, document),
        *_header_reasons(contract, document),
        *_line_reasons(contract, document),
        *_time_reasons(contract, document, append_time, timezone, start_date),
    }
    if found:
        return Judgement(tuple(code for code in contract.reasons if code in found))
    return Judgement((), _event(contract, document))


def _document(text: str) -> dict[str, Any] | None:
    """The one JSON object that ``text`` is; ``None`` when it is anything else. Of a key that stands twice the last counts."""
    try:
        found = json.loads(text, parse_int=_Number, parse_float=_Number, parse_constant=_refuse)
        # An escape of half a character passes the parser, and could be written nowhere.
        if "\\u" in text:
            json.dumps(found, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _shape_reasons(contract: TopicContract, document: dict[str, Any]) -> Iterator[str]:
    for entry in contract.fields:
        given = document.get(entry.name)
        if not isinstance(entry.type, Record | Records):
            continue
        if given is None or given == []:
            yield from [f"missing:{entry.name}"] if entry.required else []
        elif isinstance(entry.type, Records):
            yield from _array_reasons(entry.name, entry.type, given)
        elif not isinstance(given, dict):
            yield f"type:{entry.name}"


def _array_reasons(name: str, kind: Records, given: Any) -> Iterator[str]:
    if not isinstance(given, list) or not all(isinstance(line, dict) for line in given):
        yield f"type:{name}"
    if isinstance(given, list) and len(given) > kind.maximum:
        yield "too_many_items"


def _header_reasons(contract: TopicContract, document: dict[str, Any]) -> Iterator[str]:
    values: dict[str, Typed] = {}
    for leaf in contract.header_leaves:
        holder = document if leaf.parent is None else document.get(leaf.parent)
        if isinstance(holder, dict):
            given = holder.get(leaf.field.name)
            yield from _leaf_reasons(leaf, given)
            values[leaf.column] = _typed(leaf.type, _text(given))
    yield from (rule.reason for rule in contract.rules if not rule.per_line and _violated(rule.violated, values))


def _line_reasons(contract: TopicContract, document: dict[str, Any]) -> Iterator[str]:
    lines = document.get(contract.lines.name) if contract.lines is not None else None
    for line in lines if isinstance(lines, list) else ():
        if not isinstance(line, dict):
            continue
        values: dict[str, Typed] = {}
        for leaf in contract.line_leaves:
            given = line.get(leaf.field.name)
            yield from _leaf_reasons(leaf, given)
            values[leaf.column] = _typed(leaf.type, _text(given))
        yield from (rule.reason for rule in contract.rules if rule.per_line and _violated(rule.violated, values))


def _time_reasons(
    contract: TopicContract, document: dict[str, Any], append_time: dt.datetime, timezone: str, start_date: dt.date
) -> Iterator[str]:
    moment = _typed(Instant(), _text(document.get(contract.event_time)))
    if not isinstance(moment, dt.datetime):
        return
    if moment > append_time + dt.timedelta(seconds=MAX_CLOCK_AHEAD_SECONDS):
        yield "event_time_in_future"
    elif moment < dt.datetime.combine(start_date, dt.time(), ZoneInfo(timezone)):
        yield "event_time_before_start"


def _leaf_reasons(leaf: Leaf, given: Any) -> Iterator[str]:
    kind = None
    if given is None:
        kind = "missing" if leaf.required else None
    elif isinstance(leaf.type, Integer | Degrees | Amount):
        kind = _number_fault(leaf.type, _text(given))
    else:
        kind = _text_fault(leaf.type, _text(given))
    if kind is not None:
        yield f"{kind}:{leaf.path}"


def _text_fault(kind: Text | Enumeration | Uuid | Instant, text: str | None) -> str | None:
    if isinstance(kind, Enumeration):
        return None if text in kind.values else "enum"
    if _typed(kind, text) is None or text is None:
        return "type"
    if isinstance(kind, Text) and (len(text) > kind.max_length or _BLANK.fullmatch(text)):
        return "range"
    return None


def _number_fault(kind: Integer | Degrees | Amount, text: str | None) -> str | None:
    pattern = _WHOLE if isinstance(kind, Integer) else _ANY_NUMBER
    if text is None or not pattern.fullmatch(text):
        return "type"
    return None if _within(kind, text) else "range"


def _text(given: Any) -> str | None:
    """A JSON scalar as text; ``None`` for null, an object or an array."""
    if isinstance(given, bool):
        return "true" if given else "false"
    return str(given) if isinstance(given, str) else None


def _within(kind: Integer | Degrees | Amount, text: str) -> bool:
    number = _typed(kind, text)
    if number is None:
        return False
    if isinstance(kind, Amount):
        low, high = Decimal(kind.minimum or -_MONEY_LIMIT), Decimal(kind.maximum or _MONEY_LIMIT)
        return low <= number <= high  # type: ignore[operator]
    return kind.minimum <= number <= kind.maximum  # type: ignore[operator]


def _typed(kind: Scalar, text: str | None) -> Typed:  # noqa: PLR0911  one a field type
    """The value of a leaf's text, or ``None`` when it is not of that type."""
    if text is None:
        return None
    match kind:
        case Text() | Enumeration():
            return text
        case Uuid():
            return text.lower() if re.fullmatch(UUID, text) else None
        case Instant():
            return instant(text)
        case Integer():
            digits = text.strip()
            return int(digits) if _WHOLE.fullmatch(text) and len(digits) <= _MOST_INTEGER_DIGITS else None
        case Amount():
            return _money(text)
        case Degrees():
            return float(text) if _ANY_NUMBER.fullmatch(text) else None


def instant(text: str) -> dt.datetime | None:
    """The moment that an RFC 3339 text names, in UTC with its zone, to the microsecond; ``None`` when it names none."""
    found = re.fullmatch(RFC_3339, text)
    if found is None:
        return None
    day, clock, fraction, offset = found.groups()
    micros = f"{fraction or '0':0<6.6}"
    try:
        moment = dt.datetime.fromisoformat(f"{day}T{clock}.{micros}{'+00:00' if offset == 'Z' else offset}")
        away = moment.utcoffset()
        if away is None or abs(away) > dt.timedelta(hours=_MOST_HOURS_FROM_UTC):
            return None
        return moment.astimezone(dt.UTC)
    except (ValueError, OverflowError):
        return None


def _money(text: str) -> Decimal | None:
    """An exact decimal(18,4), or ``None``."""
    if not re.fullmatch(SHORT_NUMBER, text):
        return None
    try:
        number = Decimal(text)
        exact = number.quantize(_FOUR_PLACES)
    except InvalidOperation:
        return None
    return exact if exact == number and abs(exact) < _MONEY_LIMIT else None


@cache
def _predicate(violated: str) -> Any:
    """A rule's SQL as Python: they differ in ``=``, and in that a decimal must not become a float."""
    same = re.sub(r"(?<![<>])=", "==", violated.replace("{", "").replace("}", ""))
    exact = re.sub(r"\d+\.\d+", lambda number: f"Decimal('{number[0]}')", same)
    return compile(exact, violated, "eval")


def _violated(violated: str, values: dict[str, Typed]) -> bool:
    """Whether a rule is broken; like in SQL, not by a value that is not there."""
    if any(values.get(name) is None for name in re.findall(r"{(\w+)}", violated)):
        return False
    return bool(eval(_predicate(violated), {"Decimal": Decimal}, values))  # noqa: S307  the contract's own rule


def _event(contract: TopicContract, document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for entry in contract.fields:
        given: Any = document.get(entry.name)
        if isinstance(entry.type, Record):
            found[entry.name] = given and {child.name: _text(given.get(child.name)) for child in entry.type.fields}
        elif isinstance(entry.type, Records):
            found[entry.name] = [
                {child.name: _text(line.get(child.name)) for child in entry.type.fields} for line in given
            ]
        else:
            found[entry.name] = _text(given)
    return found
