"""From a contract to Spark: parse one JSON value, decide whether it is valid, and if not, say every reason why.

Two paths, for speed. The *fast* path parses with ``from_json`` into strings and asks yes-or-no questions of plain,
code-generated expressions; nearly every event ends there. What does not pass takes the *slow* path, the contract's own
:func:`~retail_platform.contracts.judge.judge` in Spark's Python workers. An event is valid when it passes the fast
path, or when the slow path finds nothing against it.

The fast path is cut into stages, each behind an ``explode`` of one element that the optimiser cannot see through: in
one piece its generated code outgrows what the JVM compiles, and one higher-order function (there is one, for the lines
that no shortcut settles) would have the whole of it interpreted (measured: 5.5 against 0.9 CPU seconds for 100,000).

Every leaf is parsed as a string: JSON numbers and numeric strings are both accepted, and no value can make the parser
build a huge number (``1e40000000`` as a decimal costs Spark over a minute, ``1e-2000000000`` kills the task).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812

from retail_platform.contracts.judge import RFC_3339, SHORT_NUMBER, UUID, judge
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

_EPOCH = dt.datetime.fromtimestamp(0, dt.UTC)
_CONDITIONS_A_STAGE = 10
_BETWEEN, _NULL = "\u0001", "\u0002"
_MARK = "~e"
#: Matches nothing.
_NEVER = "(?!)"
_OPENING_BRACKETS = "(91, 123)"
_FIRST_PRINTABLE_AFTER_SPACE = 33

_PARSE_OPTIONS = {
    "mode": "PERMISSIVE",
    "columnNameOfCorruptRecord": "_corrupt",
    "allowSingleQuotes": "false",
    "allowNonNumericNumbers": "false",
}


def parsed(contract: TopicContract, value: Column) -> Column:
    """``array<struct<~e, _corrupt>>`` of one element: the parsed value, to be exploded.

    The outer array is an optimiser barrier: without it a filter on a derived column makes Spark evaluate ``from_json`` once
    per column used. Spark's parser ignores what follows the first complete value, so the value is parsed as the first of
    the two elements of ``~e``, and the second is a mark. A value that has no ``~e`` in it can neither close that array and
    bring the mark itself, nor begin another: when the mark comes second, the value was one JSON value and nothing more.
    """
    mark = f'{{"{contract.event_id}":"{_MARK}"}}'
    text = F.concat(F.lit(f'{{"{_MARK}":['), value.cast("string"), F.lit(f",{mark}]}}"))
    return F.array(F.from_json(text, f"`{_MARK}` array<{_string_schema(contract)}>, _corrupt string", _PARSE_OPTIONS))


def unwrapped(rows: DataFrame, contract: TopicContract) -> DataFrame:
    """``rows`` with ``e`` and ``mark``: the two elements of ``parsed``; ``e`` is the value only where ``clean`` says so."""
    both = F.col(f"parsed.`{_MARK}`")
    return rows.withColumns({"e": F.get(both, F.lit(0)), "mark": F.get(both, F.lit(1))[contract.event_id]})


def with_clean(rows: DataFrame, contract: TopicContract) -> DataFrame:
    """``rows`` and the fast path's answer as ``clean``: true or false, never null.

    Needs the columns ``value``, ``append_time``, ``parsed``, ``e``, ``mark``, ``business_timezone`` and ``start_date``.
    """
    conditions = list(_header_conditions(contract))
    stages = [
        conditions[start : start + _CONDITIONS_A_STAGE] for start in range(0, len(conditions), _CONDITIONS_A_STAGE)
    ]
    names = [f"stage_{number}" for number in range(len(stages))]
    for name, stage in zip(names, stages, strict=True):
        rows = rows.withColumn(name, _answer(stage))
    if contract.lines is not None:
        rows = rows.withColumn("plain", _answer([*names, *_plain_lines(contract)]))
        rows = rows.withColumn("clean", _answer([*names, f"(plain or {_every_line(contract)})"]))
        return rows.drop(*names, "plain")
    return rows.withColumn("clean", _answer(names)).drop(*names)


def _is_all(text: str, pattern: str) -> str:
    """SQL: ``text`` is, from end to end, what ``pattern`` says (``$`` would let a line break follow)."""
    return f"{text} rlike '^{pattern.replace(chr(92), chr(92) * 2)}\\\\z'"


def _answer(conditions: Sequence[str]) -> Column:
    together = " and ".join(f"({condition})" for condition in conditions)
    return F.explode(F.array(F.expr(f"coalesce({together}, false)")))


def _header_conditions(contract: TopicContract) -> Iterator[str]:
    yield "value is not null"
    yield f"length(value) <= {contract.max_bytes}"
    yield "parsed._corrupt is null"
    yield f"size(parsed.`{_MARK}`) = 2"
    yield f"mark = '{_MARK}'"
    yield f"not contains(cast(value as string), '{_MARK}')"
    # The first could spell the mark; the others may be half a character, which could be written nowhere.
    for escape in ("u00", "ud", "uD"):
        yield f"not contains(cast(value as string), '\\\\{escape}')"
    yield "endswith(rtrim(cast(value as string)), '}')"
    yield "is_valid_utf8(cast(value as string))"
    for leaf in contract.header_leaves:
        yield _clean(leaf.type, f"e.{leaf.path}", required=leaf.required)
    for rule in contract.rules:
        if not rule.per_line:
            yield f"not ({_broken(rule.violated, contract.header_leaves, 'e.')})"
    yield f"{typed(Instant(), 'e.' + contract.event_time)} <= append_time + interval {MAX_CLOCK_AHEAD_SECONDS} seconds"
    yield f"{_business_date(contract)} >= start_date"
    if contract.lines is not None and isinstance(contract.lines.type, Records):
        lines = contract.lines.type
        yield f"size(e.{contract.lines.name}) between {lines.minimum} and {lines.maximum}"


def _every_line(contract: TopicContract) -> str:
    """SQL: each line is surely valid, line by line."""
    assert contract.lines is not None  # noqa: S101
    leaves = _relative(contract)
    line = " and ".join(
        [
            "i is not null",
            *(_clean(leaf.type, f"i.{leaf.path}", required=leaf.required) for leaf in leaves),
            *(f"not ({_broken(rule.violated, leaves, 'i.')})" for rule in contract.rules if rule.per_line),
        ]
    )
    return f"forall(e.{contract.lines.name}, i -> {line})"


def _plain_lines(contract: TopicContract) -> Iterator[str]:
    """SQL: every line is of the plainest kind, seen by one regular expression a field over all lines at once.

    The fields of the lines are joined by U+0001, nulls as U+0002; JSON can only say these as an escape, and a value that
    has such an escape is not clean.
    """
    assert contract.lines is not None  # noqa: S101
    patterns = {leaf.column: _plain(leaf) for leaf in _relative(contract)}
    for rule in (rule for rule in contract.rules if rule.per_line):
        patterns.update(rule.surely_kept or dict.fromkeys(patterns, _NEVER))
    for leaf in _relative(contract):
        one = patterns[leaf.column]
        joined = f"array_join(e.{contract.lines.name}.{leaf.field.name}, '{_BETWEEN}', '{_NULL}')"
        yield _is_all(joined, f"{one}({_BETWEEN}{one})*")


def _plain(leaf: Leaf) -> str:
    """A regular expression of values that are surely valid for a line's field."""
    match leaf.type:
        case Text(max_length=limit):
            one = f"[A-Za-z0-9][^{_BETWEEN}{_NULL}]{{0,{limit - 1}}}"
        case Integer(minimum=low, maximum=high) if low <= 1 and high > 9:  # noqa: PLR2004
            one = f"[1-9][0-9]{{0,{len(str(high)) - 2}}}"
        case Amount(minimum="0", maximum=high) if high is not None:
            one = rf"[0-9]{{1,{len(high) - 1}}}(\.[0-9]{{1,4}})?"
        case _:
            one = _NEVER
    return one if leaf.required else f"({_NULL}|{one})"


def verdict(contract: TopicContract, timezone: str, start_date: dt.date, value: Column, append_time: Column) -> Column:
    """``struct<reasons array<string>, e struct<…>>``: what :func:`~retail_platform.contracts.judge.judge` says of a value.

    ``reasons`` is null when it is valid, ``e`` when it is not. In Python, for the few records that the questions of
    :func:`with_clean` leave open: as Spark expressions the same rules cost more to plan than all of a batch's work.
    """

    def judged(raw: bytes | None, appended_micros: int) -> tuple[list[str] | None, dict[str, Any] | None]:
        appended = _EPOCH + dt.timedelta(microseconds=appended_micros)
        found = judge(contract, None if raw is None else bytes(raw), appended, timezone, start_date)
        return list(found.reasons) or None, found.event

    schema = f"reasons array<string>, e {_string_schema(contract)}"
    return F.udf(judged, schema, useArrow=False)(value, F.unix_micros(append_time))


def typed(kind: Scalar, text: str) -> str:
    """SQL that turns a leaf's string into its silver type, or null when it is not of that type."""
    match kind:
        case Text() | Enumeration():
            return text
        case Uuid():
            return f"if({_is_all(text, UUID)}, lower({text}), null)"
        case Instant():
            return f"if({_is_all(text, RFC_3339)}, try_cast({text} as timestamp), null)"
        case Integer():
            return f"try_cast({text} as int)"
        case Amount():
            return f"if({_is_all(text, SHORT_NUMBER)}, try_cast({text} as decimal(18,4)), null)"
        case Degrees():
            return f"try_cast({text} as double)"


def _string_schema(contract: TopicContract) -> str:
    parts = []
    for entry in contract.fields:
        if isinstance(entry.type, Record):
            inner = ",".join(f"`{child.name}`:string" for child in entry.type.fields)
            parts.append(f"`{entry.name}`:struct<{inner}>")
        elif isinstance(entry.type, Records):
            inner = ",".join(f"`{child.name}`:string" for child in entry.type.fields)
            parts.append(f"`{entry.name}`:array<struct<{inner}>>")
        else:
            parts.append(f"`{entry.name}`:string")
    return f"struct<{','.join(parts)}>"


def _relative(contract: TopicContract) -> list[Leaf]:
    """The line's leaves with paths relative to the line."""
    return [Leaf(leaf.field.name, leaf.field, leaf.type) for leaf in contract.line_leaves]


def _business_date(contract: TopicContract) -> str:
    moment = typed(Instant(), f"e.{contract.event_time}")
    return f"to_date(from_utc_timestamp({moment}, business_timezone))"


def _clean(kind: Scalar, text: str, *, required: bool) -> str:
    accepted = _accepted(kind, text)
    return accepted if required else f"({text} is null or {accepted})"


def _accepted(kind: Scalar, text: str) -> str:
    """SQL that is true for values that are surely valid; what it is not true for is looked at again, slowly."""
    match kind:
        case Text(max_length=limit):
            first = f"ascii({text})"
            return (
                f"(length({text}) <= {limit} and {first} >= {_FIRST_PRINTABLE_AFTER_SPACE} "
                f"and {first} not in {_OPENING_BRACKETS})"
            )
        case Uuid():
            return _is_all(text, UUID)
        case Enumeration(values=values):
            return f"{text} in ({_quoted(values)})"
        case Instant():
            return f"({typed(kind, text)}) is not null"
        case Integer(minimum=low, maximum=high):
            return f"({typed(kind, text)}) between {low} and {high}"
        case Degrees(minimum=low, maximum=high):
            return f"({typed(kind, text)}) between {low} and {high}"
        case Amount():
            return f"({_fits(kind, text)})"


def _fits(kind: Amount, text: str) -> str:
    """SQL: the number is within its bounds and has no digit beyond the fourth decimal."""
    bounds = [f"{typed(kind, text)} >= {kind.minimum}"] if kind.minimum is not None else []
    bounds += [f"{typed(kind, text)} <= {kind.maximum}"] if kind.maximum is not None else []
    exact = f"if({_is_all(text, SHORT_NUMBER)}, try_cast({text} as decimal(38,18)), null)"
    return " and ".join([*bounds, f"{exact} = {typed(kind, text)}"])


def _broken(violated: str, leaves: tuple[Leaf, ...] | list[Leaf], prefix: str) -> str:
    values = {leaf.column: f"({typed(leaf.type, prefix + leaf.path)})" for leaf in leaves}
    return f"coalesce({violated.format(**values)}, false)"


def _quoted(values: tuple[str, ...]) -> str:
    return ", ".join(f"'{value}'" for value in values)
