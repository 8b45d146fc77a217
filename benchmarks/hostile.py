"""Malformed, hostile and huge records through the whole ingest: is each in quarantine, and what does it take?"""

from __future__ import annotations

import itertools
import json
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.homes import broker
from benchmarks.ingest import held, ingest, quarantined, refuse_loss
from benchmarks.progress import counted, say
from retail_platform import kafka
from retail_platform.contracts import INVENTORY, QUARANTINE_EVENTS, TRANSACTIONS
from retail_platform.errors import RetailError
from retail_platform.lakehouse.manifest import manifest
from retail_platform.lakehouse.reading import ledger, rows_of
from retail_platform.producer.message import Message
from retail_platform.producer.send import send
from retail_platform.settings import Settings

SEED = 666
#: Shares of the records: some take tens of kilobytes, and a few more than an event may.
LARGE, HUGE = 0.01, 0.0001
_GIB = 1024**3

Event = dict[str, Any]
Make = Callable[[random.Random], bytes | None]


def measure(records: int = 1_000_000) -> dict[str, Any]:
    """Send ``records`` of which none is valid, and drain them with the job, its own process, in its usual heap.

    Figures: seconds and rate from the first batch's start to the last one's end, and seconds_with_start of the whole job;
    peak_gib of the job and its parts; batches of all queries; megabytes sent; how often each reason was given.

    Raises:
        RetailError: a record was lost or accepted, has no reason, or the job failed: a batch that fails ends it.
    """
    with broker() as settings:
        sent = _send(settings, records)
        say("draining …")
        began = time.monotonic()
        with ingest(settings, "available_now") as job:
            job.await_end()
            whole = time.monotonic() - began
        _refuse(settings, records)
        batches = ledger(settings)
        first, last = min(entry.started_at for entry in batches), max(entry.committed_at for entry in batches)
        seconds = (last - first).total_seconds()
        return {
            "parameters": {
                "records": records,
                "seed": SEED,
                "large_share": LARGE,
                "huge_share": HUGE,
                "driver_memory": settings.spark_driver_memory,
                "max_offsets_per_batch": settings.ingest_max_offsets_per_batch,
            },
            "figures": {
                "records": records,
                "megabytes": round(sent / 1e6),
                "seconds": round(seconds, 1),
                "seconds_with_start": round(whole, 1),
                "rate": round(records / seconds),
                "peak_gib": round(job.tree.peak_bytes / _GIB, 2),
                "parts_gib": {name: round(size / _GIB, 2) for name, size in job.tree.peak_parts.items()},
                "batches": len(batches),
                "quarantined": quarantined(settings),
                "reasons": _reasons(settings),
            },
        }


def messages(seed: int = SEED) -> Iterator[Message]:
    """Records without end, none of them valid; which, the seed decides."""
    rng = random.Random(seed)  # noqa: S311  (reproducible, not secret)
    for number in itertools.count():
        drawn = rng.random()
        makers = _HUGE if drawn < HUGE else _LARGE if drawn < LARGE else _SMALL
        make = rng.choice(makers)
        topic = INVENTORY if rng.random() < _INVENTORY_SHARE and make in _ANY_TOPIC else TRANSACTIONS
        key = rng.choice((b"", b"\xff\xfe\x00", f"T{number}".encode(), None))
        yield Message(topic.topic, key, make(rng), topic.schema, make.__name__)


def _send(settings: Settings, records: int) -> int:
    """Send them; how many bytes their values have.

    Raises:
        RetailError: Kafka did not take every one.
    """
    kafka.ensure_topics(settings)
    size = 0

    def measured() -> Iterator[Message]:
        nonlocal size
        for message in itertools.islice(messages(), records):
            size += len(message.value or b"")
            yield message

    with counted("hostile records into Kafka", records) as told:
        report = send(settings, measured(), on_progress=told)
    if report.acknowledged != records or held(settings) != records:
        raise RetailError(f"Kafka took {report.acknowledged} of {records} records: {'; '.join(report.refused)}")
    return size


def _refuse(settings: Settings, records: int) -> None:
    refuse_loss(settings)
    found = quarantined(settings)
    if found != records:
        raise RetailError(f"{found} of {records} records are in quarantine with a reason")


def _reasons(settings: Settings) -> dict[str, int]:
    found = rows_of(
        manifest(settings, QUARANTINE_EVENTS),
        "select reason, count(*) from (select unnest(reasons) as reason from t) group by 1 order by 2 desc, 1",
    )
    return dict(found)


# --- What is wrong with them ------------------------------------------------------------------------------------------


def _sale(rng: random.Random, **changes: Any) -> Event:
    """A sale that is valid but for ``changes``."""
    identity = f"{rng.getrandbits(128):032x}"
    event: Event = {
        "event_id": f"{identity[:8]}-{identity[8:12]}-{identity[12:16]}-{identity[16:20]}-{identity[20:]}",
        "event_type": "sale",
        "transaction_id": f"T{identity[:10]}",
        "event_time": "2020-05-05T10:00:00Z",
        "channel": "pos",
        "store_id": "S001",
        "payment": {"method": "card"},
        "location": {"country": "UK"},
        "currency": "GBP",
        "items": [{"product_id": "P1", "quantity": 1, "unit_price": "1.00", "discount": "0"}],
    }
    return event | changes


def _text(event: Event) -> bytes:
    return json.dumps(event, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _tombstone(_: random.Random) -> None:
    return None


def _nothing_much(rng: random.Random) -> bytes:
    return rng.choice((b"", b" ", b"\n\n", b"null", b"true", b"0", b'""', b"[]", b"{}", b"[{}]", b"\x00", b"{", b'"'))


def _noise(rng: random.Random) -> bytes:
    return rng.randbytes(rng.randrange(1, 400))


def _cut_off(rng: random.Random) -> bytes:
    whole = _text(_sale(rng))
    return whole[: rng.randrange(1, len(whole))]


def _trailing(rng: random.Random) -> bytes:
    return _text(_sale(rng)) + rng.choice((b"}", b"x", b"{}", b",", b"\x00", b"]", b"]}", b"//", b'{"e":1}'))


def _smuggled(rng: random.Random) -> bytes:
    """Two whole events, made to look like one inside whatever a parser wraps around them."""
    return _text(_sale(rng)) + rng.choice((b'],"e":[', b'],"~e":[', b'],"\\u007ee":[')) + _text(_sale(rng))


def _half_a_character(rng: random.Random) -> bytes:
    return _text(_sale(rng)).replace(b'"S', rng.choice((b'"\\ud800', b'"\\uDFFF')), 1)


def _other_encoding(rng: random.Random) -> bytes:
    text = json.dumps(_sale(rng, store_id="Münster £ 漢"), ensure_ascii=False)
    return text.encode(rng.choice(("utf-16", "utf-16-le", "utf-32", "latin-1", "gb18030", "utf-8-sig")), "replace")


def _broken_utf8(rng: random.Random) -> bytes:
    bad = rng.choice((b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80", b"\x80", b"\xe2\x82"))
    return _text(_sale(rng)).replace(b"S001", b"S" + bad)


def _control_characters(rng: random.Random) -> bytes:
    return _text(_sale(rng)).replace(b"S001", bytes([rng.randrange(0x20)]) * rng.randrange(1, 5))


def _not_json(rng: random.Random) -> bytes:
    text = _text(_sale(rng))
    return rng.choice(
        (
            text.replace(b'"', b"'"),
            text.replace(b'"1.00"', rng.choice((b"NaN", b"Infinity", b"0x10", b"01", b"+1", b".5", b"1.", b"1e"))),
            b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>",
            b"event_id,store_id\n1,'; drop table raw.transaction_lines;--",
            b"${jndi:ldap://127.0.0.1/a} {{ 7*7 }} `id` $(id) ; -- /* \\",
        )
    )


def _wrong_type(rng: random.Random) -> bytes:
    wrong: Any = rng.choice(([], {}, [[]], {"$ne": None}, [None], [1, 2]))
    name = rng.choice(("event_id", "event_time", "event_type", "channel", "currency", "transaction_id", "store_id"))
    return _text(_sale(rng, **{name: wrong}))


def _wrong_structure(rng: random.Random) -> bytes:
    name = rng.choice(("payment", "location", "items"))
    return _text(
        _sale(rng, **{name: rng.choice(("x", 1, True, None, [1], [[]], {"0": {}} if name == "items" else []))})
    )


def _missing(rng: random.Random) -> bytes:
    event = _sale(rng)
    del event[rng.choice(("event_id", "event_type", "transaction_id", "event_time", "store_id", "items", "currency"))]
    return _text(event)


def _outside_the_list(rng: random.Random) -> bytes:
    hostile = rng.choice(("' or 1=1 --", "SALE", "sale\n", "sale\u0000", "ѕale", "XXX", "x" * 300))
    return _text(_sale(rng, **{rng.choice(("event_type", "channel", "currency", "event_id")): hostile}))


def _bad_moment(rng: random.Random) -> bytes:
    moments = ("0000-00-00T00:00:00Z", "9999-12-31T23:59:59Z", "2020-02-30T00:00:00Z", "2020-01-01T24:00:61Z")
    more = ("2020-01-01", "2020-01-01T00:00:00", "1577836800", "2020-01-01T00:00:00+99:99", "1066-10-14T09:00:00Z", "")
    return _text(_sale(rng, event_time=rng.choice((*moments, *more))))


def _bad_number(rng: random.Random) -> bytes:
    numbers = ("1e2000000000", "-1e-2000000000", "1e40000000", "-1", "0.00001", "9" * 40, "1_000", "٣", "", " ", "1,5")
    name = rng.choice(("quantity", "unit_price", "discount"))
    given = rng.choice(numbers)
    line = {"product_id": "P1", "quantity": 1, "unit_price": "1.00", "discount": "0"} | {name: given}
    text = _text(_sale(rng, items=[line]))
    # As a bare number where JSON has one of that form.
    bare = given if given[:1].isdigit() and given.isascii() and "_" not in given and "," not in given else f'"{given}"'
    return text.replace(json.dumps(given, ensure_ascii=False).encode(), bare.encode())


def _discount_above_amount(rng: random.Random) -> bytes:
    line = {"product_id": "P1", "quantity": 1, "unit_price": "1.00", "discount": f"{rng.randrange(2, 10**6)}"}
    return _text(_sale(rng, items=[line]))


def _deep(rng: random.Random) -> bytes:
    depth = rng.randrange(500, 20_000)
    opening, closing = rng.choice((("[", "]"), ('{"a":', "}")))
    nested = opening * depth + "1" + closing * (depth if rng.random() < _CLOSED_SHARE else 0)
    return _text(_sale(rng)).replace(b'"S001"', nested.encode())


def _long_number(rng: random.Random) -> bytes:
    digits = rng.choice("123456789") * rng.randrange(1_000, 40_000)
    return _text(_sale(rng)).replace(b'"1.00"', digits.encode() + rng.choice((b"", b".5", b"e5")))


def _long_text(rng: random.Random) -> bytes:
    return _text(_sale(rng, store_id=rng.choice(("x", "é", "漢", "🛒", " ")) * rng.randrange(1_000, 20_000)))


def _many_lines(rng: random.Random) -> bytes:
    line = {"product_id": "P1", "quantity": 1, "unit_price": "1.00", "discount": "0"}
    return _text(_sale(rng, items=[line] * rng.randrange(1_001, 1_300)))


def _many_fields(rng: random.Random) -> bytes:
    return _text(
        _sale(rng, currency="XXX") | {f"field_{number}": number for number in range(rng.randrange(500, 2_000))}
    )


def _giant_text(rng: random.Random) -> bytes:
    return _text(_sale(rng, store_id="x" * rng.randrange(1_000_001, 4_500_000)))


def _giant_array(rng: random.Random) -> bytes:
    return _text(_sale(rng, items=[{}] * rng.randrange(300_000, 1_000_000)))


def _giant_depth(rng: random.Random) -> bytes:
    return b"[" * rng.randrange(500_000, 4_000_000)


def _giant_noise(rng: random.Random) -> bytes:
    return rng.randbytes(rng.randrange(500_000, 4_500_000))


_INVENTORY_SHARE, _CLOSED_SHARE = 0.2, 0.5
_ANY_TOPIC: tuple[Make, ...] = (
    _tombstone,
    _nothing_much,
    _noise,
    _cut_off,
    _trailing,
    _smuggled,
    _broken_utf8,
    _not_json,
)
_SMALL: tuple[Make, ...] = (
    *_ANY_TOPIC,
    _half_a_character,
    _other_encoding,
    _control_characters,
    _wrong_type,
    _wrong_structure,
    _missing,
    _outside_the_list,
    _bad_moment,
    _bad_number,
    _discount_above_amount,
)
_LARGE: tuple[Make, ...] = (_deep, _long_number, _long_text, _many_lines, _many_fields)
_HUGE: tuple[Make, ...] = (_giant_text, _giant_array, _giant_depth, _giant_noise)
