"""``retail fraud``: give verdicts on suspicious purchases, and see what they say of the rules."""

from __future__ import annotations

import csv
import dataclasses
import datetime as dt
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from retail_platform.cli.app import app, err, harmless, out
from retail_platform.errors import RetailError
from retail_platform.settings import Settings, get_settings

if TYPE_CHECKING:
    from retail_platform.lakehouse.fraud_cases import Case
    from retail_platform.reactions.fraud.labels import Label

fraud = typer.Typer(help="Verdicts on suspicious purchases, and what they say of the rules.", no_args_is_help=True)
app.add_typer(fraud, name="fraud", rich_help_panel="Operate")

_SHOWN_UNKNOWN = 5


class Verdict(StrEnum):
    """What an analyst may say."""

    CONFIRMED = "confirmed"
    DISMISSED = "dismissed"


@dataclasses.dataclass(frozen=True, slots=True)
class _Given:
    """A verdict as somebody gave it, and where it stands. ``id``: of an alert or a purchase."""

    where: str
    id: str
    verdict: str
    at: str | None = None
    analyst: str | None = None


@fraud.command()
def label(
    event_id: Annotated[
        str | None, typer.Argument(help="event_id of an alert, or of the purchase.", show_default=False)
    ] = None,
    verdict: Annotated[
        Verdict | None, typer.Option(help="Whether it was fraud; with --file, of the rows that do not say.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(help="Many: a .csv or .jsonl with event_id, and verdict, event_time, analyst if told."),
    ] = None,
    dismiss_others: Annotated[
        bool,
        typer.Option(
            "--dismiss-others", help="With --file: on its days, dismiss every other alert that has no verdict."
        ),
    ] = False,
    analyst: Annotated[str | None, typer.Option(help="An opaque id of who says so; never a name.")] = None,
) -> None:
    """Say of purchases with a card whether they were fraud. The purchase must be in the lake.

    A verdict is an event of the topic fraud-labels: the reactions hear it at once, the lake has it with the next batch. Of
    several on one purchase the last holds.

    Example: [bold]retail fraud label 0b7c1a5e-… --verdict dismissed[/]

    What was simulated: [bold]retail fraud label --file fraud.jsonl --verdict confirmed --dismiss-others[/]
    """
    if (event_id is None) == (file is None):
        raise typer.BadParameter("give either an EVENT_ID or --file")
    if dismiss_others and file is None:
        raise typer.BadParameter("--dismiss-others needs --file: it dismisses what the file does not name")
    if event_id is not None and verdict is None:
        raise typer.BadParameter("give --verdict confirmed or --verdict dismissed")
    settings, now = get_settings(), dt.datetime.now(dt.UTC)
    if event_id is not None:
        given = [_Given(event_id, event_id, str(verdict), analyst=analyst)]
    else:
        given = _read(file, verdict, analyst) if file else []
    _label(settings, given, now, dismiss_others=dismiss_others, analyst=analyst)


@fraud.command()
def rules(
    from_: Annotated[
        dt.datetime | None,
        typer.Option("--from", formats=["%Y-%m-%d"], help="First business date; of all when left out."),
    ] = None,
    to: Annotated[dt.datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Last business date.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """What each fraud rule is worth, from the lake's alerts, labels and purchases, and whether it meets the release criteria.

    At least 30 % of its labelled hits were fraud, of 30 labels or more, and it hits under 0.5 % of the purchases with a card.

    A rule in shadow that passes may be released; one that is live and does not must go back. Both are a change of
    reactions/fraud/parameters.py, by a person. After such a change, count from its day on: --from.
    """
    from retail_platform.lakehouse.fraud_cases import card_purchases, hits
    from retail_platform.reactions.fraud import cards, stores, tills
    from retail_platform.reactions.fraud.measures import HEADER, Hit, measure
    from retail_platform.reactions.fraud.parameters import DEFAULT

    settings = get_settings()
    first, last = from_.date() if from_ else None, to.date() if to else None
    found, purchases = hits(settings, first, last), card_purchases(settings, first, last)
    if not purchases:
        raise RetailError(
            "the lake has no purchase with a card on these days; send some (`retail simulate`), then `retail stream drain`"
        )
    measures = measure(
        (Hit(one.rule, one.transaction_event_id) for one in found),
        {one.transaction_event_id: one.verdict for one in found if one.verdict is not None},
        purchases,
        (*cards.RULES, stores.RULE, tills.RULE),
    )
    modes = ["shadow" if getattr(DEFAULT, one.rule).shadow else "live" for one in measures]
    if as_json:
        told = [
            dataclasses.asdict(one) | {"mode": mode, "released": one.released}
            for one, mode in zip(measures, modes, strict=True)
        ]
        out.print_json(json.dumps({"purchases": purchases, "rules": told}))
        return
    table = Table(title=f"{purchases:,} purchases with a card", title_justify="left")
    for name in (HEADER[0], "mode", *HEADER[1:]):
        table.add_column(name, justify="left" if name in ("rule", "mode", "criteria") else "right")
    for one, mode in zip(measures, modes, strict=True):
        rule, *figures = one.row()
        table.add_row(rule, mode, *figures)
    out.print(table)


def _label(
    settings: Settings, given: Sequence[_Given], now: dt.datetime, *, dismiss_others: bool, analyst: str | None
) -> None:
    from retail_platform.lakehouse.fraud_cases import cases, open_cases

    known = cases(settings, [one.id for one in given])
    labels = [_labelled(settings, one, known[one.id], now) for one in given if one.id in known]
    if dismiss_others:
        judged = {label.transaction_event_id for label in labels}
        # Of its own days alone: of others the file may know nothing.
        days = {case.business_date for case in known.values()}
        others = [case for case in open_cases(settings, days) if case.transaction_event_id not in judged]
        labels += [
            _labelled(settings, _Given(case.transaction_event_id, "", Verdict.DISMISSED, analyst=analyst), case, now)
            for case in others
        ]
    if labels:
        _send(settings, labels)
        told = Counter(label.verdict for label in labels)
        out.print(", ".join(f"{count:,} {verdict}" for verdict, count in sorted(told.items())))
    unknown = [harmless(one.id) for one in given if one.id not in known]
    if unknown:
        more = f" and {len(unknown) - _SHOWN_UNKNOWN:,} more" if len(unknown) > _SHOWN_UNKNOWN else ""
        raise RetailError(
            f"{', '.join(unknown[:_SHOWN_UNKNOWN])}{more}: neither an alert nor a purchase with a card in the lake; one that "
            "came just now is there after `retail stream drain`, then say it again"
        )


def _labelled(settings: Settings, given: _Given, case: Case, now: dt.datetime) -> Label:
    """The verdict as a label.

    Raises:
        RetailError: the contract would refuse it.
    """
    from retail_platform.contracts import FRAUD_LABELS
    from retail_platform.contracts.judge import instant, judge
    from retail_platform.reactions.fraud.labels import Label, label_id

    at = now if given.at is None else instant(given.at)
    if at is None:
        raise RetailError(
            f"{harmless(given.where)}: event_time {harmless(given.at or '')} is no RFC 3339 time with an offset, such as "
            "2026-03-02T09:00:00Z; nothing was sent"
        )
    verdict: Any = given.verdict  # judged below
    label = Label(
        event_id=label_id(case.transaction_event_id, verdict, at),
        event_time=at,
        transaction_event_id=case.transaction_event_id,
        transaction_time=case.transaction_time,
        store_id=case.store_id,
        verdict=verdict,
        register_id=case.register_id,
        analyst=given.analyst,
    )
    value = json.dumps(label.message()).encode()
    reasons = judge(FRAUD_LABELS, value, now, settings.business_timezone, settings.partitions_start_date).reasons
    if reasons:
        raise RetailError(f"{harmless(given.where)}: {FRAUD_LABELS.reasons[reasons[0]]} Nothing was sent.")
    return label


def _send(settings: Settings, labels: Sequence[Label]) -> None:
    from retail_platform import kafka
    from retail_platform.contracts import FRAUD_LABELS
    from retail_platform.producer.message import Message, encode
    from retail_platform.producer.send import send

    kafka.ensure_topics(settings, [FRAUD_LABELS])
    topic, schema = FRAUD_LABELS.topic, FRAUD_LABELS.schema
    report = send(
        settings,
        [
            Message(topic, label.transaction_event_id.encode(), encode(label.message()), schema, label.verdict)
            for label in labels
        ],
    )
    if report.failed:
        err.print(f"Kafka refused {report.failed:,} of {report.sent:,}: {report.refused[0]}")
        raise typer.Exit(1)
    if report.interrupted:
        err.print(f"stopped before the end; {report.acknowledged:,} of {len(labels):,} are in Kafka")
        raise typer.Exit(130)


def _read(path: Path, verdict: Verdict | None, analyst: str | None) -> list[_Given]:
    """The verdicts of a file; ``verdict`` and ``analyst`` where a row has none of its own.

    Raises:
        RetailError: the file cannot be read, or a row of it.
    """
    found = []
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            for number, row in _rows(path, lines):
                where = f"{path.name} line {number}"
                told = {name: str(value) for name, value in row.items() if value not in (None, "")}
                if "event_id" not in told:
                    raise RetailError(f"{where} has no event_id; nothing was sent")
                said = told.get("verdict", verdict)
                if said is None:
                    raise RetailError(f"{where} has no verdict; name one in it, or give --verdict; nothing was sent")
                found.append(
                    _Given(where, told["event_id"], str(said), told.get("event_time"), told.get("analyst", analyst))
                )
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RetailError(f"--file {path} cannot be read ({error}); nothing was sent") from error
    return found


def _rows(path: Path, lines: Iterator[str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Each row of the file with its line number."""
    if path.suffix == ".csv":
        reader = csv.DictReader(lines)
        yield from ((reader.line_num, row) for row in reader)
    elif path.suffix == ".jsonl":
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield number, _object(path, number, line)
    else:
        raise RetailError(f"--file {path} is neither a .csv nor a .jsonl; name it by what it is")


def _object(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise RetailError(f"{path.name} line {number} is not a JSON object; nothing was sent")
    return found
