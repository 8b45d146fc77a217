"""``retail quarantine``: which records were refused and why, one of them byte for byte, and sending them in again."""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from retail_platform.cli.app import app, harmless, out
from retail_platform.errors import RetailError
from retail_platform.settings import Settings, get_settings

if TYPE_CHECKING:
    from retail_platform.lakehouse.quarantine import Address, Raw, Refused, Selection
    from retail_platform.producer.message import Message

quarantine = typer.Typer(help="Refused records: list, look, send again.", no_args_is_help=True)
app.add_typer(quarantine, name="quarantine", rich_help_panel="Operate")

#: The header by which a record that was sent again says which one it was: topic/partition/offset.
REPLAY_OF = "replay-of"
_LEAST_PARTS = 3

Topic = Annotated[str | None, typer.Option(help="Only of this topic.")]
Day = Annotated[dt.datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Only what Kafka got on this day (UTC).")]
Reason = Annotated[str | None, typer.Option(help="Only with this reason, e.g. missing:currency.")]
Json = Annotated[bool, typer.Option("--json", help="Print it as JSON.")]
Where = Annotated[str, typer.Argument(help="topic/partition/offset, as `retail quarantine list --records` shows it.")]


@quarantine.command(name="list")
def list_(
    topic: Topic = None,
    day: Day = None,
    reason: Reason = None,
    records: Annotated[bool, typer.Option("--records", help="The records themselves, not their counts.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="Most records to show, the newest.")] = 50,
    as_json: Json = False,
) -> None:
    """Refused records by topic, day and reason, and how many of them are mended: their event is in silver by now.

    A record with several reasons counts under each.
    """
    from retail_platform.lakehouse.quarantine import Selection, counts, refused

    settings, chosen = get_settings(), Selection(topic=topic, day=day.date() if day else None, reason=reason)
    if records:
        shown = [_listed(record) for record in refused(settings, chosen)[-limit:]]
    else:
        shown = [dataclasses.asdict(count) for count in counts(settings, chosen)]
    if as_json:
        out.print_json(json.dumps(shown, default=str))
    elif not shown:
        out.print("nothing is in quarantine that matches")
    else:
        table = Table()
        for name in shown[0]:
            table.add_column(name, overflow="fold", justify="right" if name in ("records", "mended") else "left")
        for entry in shown:
            table.add_row(*(harmless(_cell(value)) for value in entry.values()))
        out.print(table)


@quarantine.command()
def show(
    where: Where,
    as_json: Json = False,
    raw_value: Annotated[bool, typer.Option("--raw", help="Only the value's bytes, to be mended in a file.")] = False,
) -> None:
    """One refused record: its key, headers and value as they came, and what each of its reasons means."""
    from retail_platform.lakehouse.quarantine import raw, refused

    settings, chosen = get_settings(), _address(where)
    found = refused(settings, chosen)
    if not found:
        raise RetailError(f"{where} is not in quarantine; see `retail quarantine list --records`")
    (bytes_,) = raw(settings, [found[0].address])
    if raw_value:
        sys.stdout.buffer.write(bytes_.value or b"")
        sys.stdout.flush()
        return
    meanings = _meanings(settings, found[0])
    if as_json:
        out.print_json(json.dumps(_listed(found[0]) | {"meaning": meanings} | _encoded(bytes_), default=str))
        return
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in _listed(found[0]).items():
        if name != "reasons":
            table.add_row(name, harmless(_cell(value)))
    table.add_row("key", harmless(_text(bytes_.key)))
    for name, header in bytes_.headers:
        table.add_row(f"header {harmless(name)}", harmless(_text(header)))
    for code, meaning in meanings.items():
        table.add_row(escape(code), escape(meaning), style="red")
    out.print(table)
    out.print(harmless(_text(bytes_.value)), soft_wrap=True)


@quarantine.command()
def replay(
    topic: Topic = None,
    partition: Annotated[int | None, typer.Option(min=0, help="Only of this partition of --topic.")] = None,
    offset: Annotated[int | None, typer.Option(min=0, help="Only this offset of --topic and --partition.")] = None,
    day: Day = None,
    reason: Reason = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Judge the records and say so; send nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Send refused records in again by the front door, Kafka, once what was wrong is put right.

    Value, key and headers stay as they are; the header replay-of says which record it was. An event that is in silver
    already is dropped there, so twice does no harm.

    Each record is judged by the rules of now first, and only those that pass are sent. Mended ones stay where they are.
    """
    from retail_platform.lakehouse.quarantine import Selection, refused

    settings = get_settings()
    chosen = Selection(topic, partition, offset, reason, day.date() if day else None)
    _require_whole(chosen)
    found = refused(settings, chosen)
    out.print(f"{len(found):,} records match, {sum(record.mended for record in found):,} of them are mended already")
    waiting = _passing(settings, [record.address for record in found if not record.mended])
    if dry_run or not waiting:
        out.print(f"{len(waiting):,} to send" if waiting else "nothing to send")
        return
    out.print(f"{len(waiting):,} go to {settings.bootstrap_servers} again, as they are")
    if not yes and not typer.confirm("Send them?"):
        raise typer.Exit(1)
    _send(settings, waiting)


def _passing(settings: Settings, addresses: Sequence[Address]) -> list[Address]:
    """Those of the records that the rules of now accept; what they have against the others is printed."""
    from retail_platform.lakehouse.quarantine import reasons_now

    found = reasons_now(settings, addresses)
    passing = [address for address, reasons in found.items() if not reasons]
    if len(found) < len(addresses):
        out.print(f"[yellow]{len(addresses) - len(found):,} are of topics that are not ingested[/] and stay")
    if len(passing) < len(found):
        again = Counter(reason for reasons in found.values() for reason in reasons)
        why = ", ".join(f"{reason} {count:,}" for reason, count in again.most_common())
        out.print(
            f"[yellow]{len(found) - len(passing):,} would be refused again[/] and stay: {escape(why)}", soft_wrap=True
        )
    return passing


def _send(settings: Settings, addresses: Sequence[Address]) -> None:
    from retail_platform.cli.producer import send_events
    from retail_platform.lakehouse.quarantine import raw

    messages = _messages(settings, raw(settings, addresses))
    report = send_events(settings, messages, len(addresses), "sending again", speed=None)
    out.print(f"{report.acknowledged:,} are in Kafka again; the stream takes them like any other")
    if report.failed or report.acknowledged < len(addresses):
        why = "; ".join(report.refused) or "stopped before the end"
        raise RetailError(
            f"{len(addresses) - report.acknowledged:,} were not sent: {why}; run it again, those that are in do no harm"
        )


def _messages(settings: Settings, records: Iterator[Raw]) -> Iterator[Message]:
    from retail_platform.producer.message import Message

    schemas = {contract.topic: contract.schema for contract in settings.topics}
    for record in records:
        topic, partition, offset = record.address
        headers = (*record.headers, (REPLAY_OF, f"{topic}/{partition}/{offset}".encode()))
        yield Message(topic, record.key, record.value, schemas[topic], "replayed", headers=headers)


def _address(where: str) -> Selection:
    from retail_platform.lakehouse.quarantine import Selection

    parts = where.rsplit("/", 2)
    if len(parts) < _LEAST_PARTS or not (parts[1].isdigit() and parts[2].isdigit()):
        raise typer.BadParameter("give topic/partition/offset, e.g. retail-transactions/0/17")
    return Selection(parts[0], int(parts[1]), int(parts[2]))


def _require_whole(chosen: Selection) -> None:
    if chosen.offset is not None and chosen.partition is None:
        raise typer.BadParameter("--offset needs --partition and --topic: it names nothing without them")
    if chosen.partition is not None and chosen.topic is None:
        raise typer.BadParameter("--partition needs --topic: it names nothing without it")


def _meanings(settings: Settings, record: Refused) -> dict[str, str]:
    known = {code: text for c in settings.topics if c.topic == record.topic for code, text in c.reasons.items()}
    return {code: known.get(code, "not among the reasons of this version") for code in record.reasons}


def _listed(record: Refused) -> dict[str, Any]:
    return {
        "record": "/".join(map(str, record.address)),
        "appended (UTC)": f"{record.append_time:%Y-%m-%d %H:%M:%S}",
        "event_id": record.event_id,
        "mended": record.mended,
        "reasons": list(record.reasons),
    }


def _encoded(record: Raw) -> dict[str, Any]:
    """Key, headers and value for JSON: as text where they are UTF-8, and always as base64."""
    headers = [[name, _text(value)] for name, value in record.headers]
    value = None if record.value is None else base64.b64encode(record.value).decode()
    return {"key": _text(record.key), "headers": headers, "value": _text(record.value), "value_base64": value}


def _text(value: bytes | None) -> str:
    return "(none)" if value is None else value.decode("utf-8", "backslashreplace")


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
