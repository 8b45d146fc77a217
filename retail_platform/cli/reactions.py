"""``retail reactions``: run them without Dagster, and tell them something."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from retail_platform.cli.app import app, err, harmless, out
from retail_platform.settings import get_settings

if TYPE_CHECKING:
    from retail_platform.producer.message import Message

reactions = typer.Typer(
    help="What happens within a second of an event: alerts, stock, metrics, segments, prices.", no_args_is_help=True
)
app.add_typer(reactions, name="reactions", rich_help_panel="Operate")


@reactions.command()
def run(application: Annotated[str, typer.Argument(help="reactions, metrics or marketing.")] = "reactions") -> None:
    """Run an application here, until Ctrl-C; several at once share its work. Under Dagster its supervisor does this."""
    from retail_platform.reactions.applications import application_named
    from retail_platform.reactions.wiring.job import Job

    def say(line: str) -> None:
        err.print(line)

    Job(get_settings(), application_named(application), say).run()


@reactions.command()
def rollback(product: Annotated[str, typer.Argument(help="product_id.")]) -> None:
    """Take the last change of a product's price back. What became of it: retail watch prices."""
    from retail_platform.producer.message import price_rollback

    _tell(price_rollback(product))
    out.print(f"asked to roll back the price of {harmless(product)}")


@reactions.command()
def release(
    store: Annotated[str, typer.Argument(help="store_id.")],
    product: Annotated[str, typer.Argument(help="product_id.")],
    cycle: Annotated[int, typer.Argument(min=1, help="The request's cycle.")],
) -> None:
    """Let a reorder request through that was held at its store's daily limit. What became of it: retail watch reorders."""
    from retail_platform.producer.message import reorder_release

    _tell(reorder_release(store, product, cycle))
    out.print(f"asked to release order {cycle} of {harmless(product)} for {harmless(store)}")


def _tell(message: Message) -> None:
    from retail_platform import kafka
    from retail_platform.producer.send import send

    settings = get_settings()
    kafka.ensure_topics(settings)
    report = send(settings, [message])
    if report.failed:
        err.print(f"Kafka refused it: {report.refused[0]}")
        raise typer.Exit(1)
