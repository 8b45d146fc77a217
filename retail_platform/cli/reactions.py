"""``retail reactions``: run them without Dagster; ``retail watch``: what they say, as they say it."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

import typer
from rich.markup import escape

from retail_platform.cli.app import app, err, out
from retail_platform.errors import RetailError
from retail_platform.settings import Settings, get_settings

reactions = typer.Typer(help="What happens within a second of an event: fraud alerts.", no_args_is_help=True)
app.add_typer(reactions, name="reactions", rich_help_panel="Operate")
watch = typer.Typer(help="See results on their Kafka topics as they come, until Ctrl-C.", no_args_is_help=True)
app.add_typer(watch, name="watch", rich_help_panel="Look")

_COLOURS = {"low": "white", "medium": "yellow", "high": "red"}

FromStart = Annotated[bool, typer.Option("--from-start", help="All that the topic still holds, too.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]
Limit = Annotated[int, typer.Option(min=0, help="End after so many; 0: never.")]


@reactions.command()
def run(application: Annotated[str, typer.Argument(help="reactions, metrics or marketing.")] = "reactions") -> None:
    """Run an application here, until Ctrl-C; several at once share its work. Under Dagster its supervisor does this."""
    from retail_platform.reactions.applications import application_named
    from retail_platform.reactions.wiring.job import Job

    def say(line: str) -> None:
        err.print(line)

    Job(get_settings(), application_named(application), say).run()


@watch.command()
def alerts(from_start: FromStart = False, as_json: AsJson = False, limit: Limit = 0) -> None:
    """Fraud alerts: when, how severe, which rule, which card and store, and why."""
    from retail_platform.contracts import FRAUD_ALERTS

    _show(get_settings(), FRAUD_ALERTS.topic, from_start, as_json, limit)


def _show(settings: Settings, topic: str, from_start: bool, as_json: bool, limit: int) -> None:
    async def show() -> None:
        count = 0
        async for record in _records(settings, topic, from_start):
            out.print(escape(json.dumps(record)) if as_json else _line(record), soft_wrap=True)
            count += 1
            if count == limit:
                return

    if not as_json:
        err.print(f"{topic}: waiting; Ctrl-C ends it")
    asyncio.run(show())


async def _records(settings: Settings, topic: str, from_start: bool) -> AsyncIterator[dict[str, Any]]:
    """The committed records of a topic, as they come."""
    from aiokafka import AIOKafkaConsumer
    from aiokafka.errors import KafkaError

    from retail_platform import kafka

    await asyncio.to_thread(
        kafka.offsets, settings, [topic]
    )  # or a topic that is not there would be waited for in silence
    options = kafka.client_options(settings) | {
        "isolation_level": "read_committed",
        "auto_offset_reset": "earliest" if from_start else "latest",
    }
    try:
        async with AIOKafkaConsumer(topic, **options) as consumer:
            async for record in consumer:
                yield json.loads(record.value)
    except KafkaError as error:
        raise RetailError(f"Kafka went away while {topic} was read ({error}); look at `retail kafka status`") from error


def _line(alert: dict[str, Any]) -> str:
    moment = dt.datetime.fromisoformat(alert["event_time"]).strftime("%Y-%m-%d %H:%M:%S")
    trial = " (on trial)" if alert["shadow"] == "yes" else ""
    colour = _COLOURS[alert["severity"]]
    facts = escape(f"card {alert['card_token']}, store {alert['store_id']}, {alert['evidence']}")
    return f"{moment}Z [{colour}]{alert['severity']:<6}[/] {alert['score']} [bold]{alert['rule']}[/]{trial} {facts}"
