"""What every output of a reaction shares: its deterministic id, and how times and evidence are written."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from typing import Any

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "reactions.retail-platform")
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)


def output_id(topic: str, *natural_key: object) -> str:
    """The event_id of an output: UUID v5 of its topic and natural key, so a recomputation gives the same one."""
    return str(uuid.uuid5(_NAMESPACE, json.dumps([topic, *map(str, natural_key)], ensure_ascii=False)))


def rfc3339(moment: dt.datetime) -> str:
    """An instant as RFC 3339 text in UTC, to the microsecond."""
    return moment.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def micros(moment: dt.datetime) -> int:
    """An instant as microseconds since 1970, as a state holds it: exact, short, and sorted as it is."""
    return (moment - _EPOCH) // _MICROSECOND


def from_micros(count: int) -> dt.datetime:
    """The instant that :func:`micros` wrote, in UTC with its zone."""
    return _EPOCH + count * _MICROSECOND


def evidence(**inputs: Any) -> str:
    """Inputs of a decision as one JSON text: keys sorted, whatever is no JSON (decimals, dates) as its text."""
    return json.dumps(inputs, sort_keys=True, ensure_ascii=False, default=str)
