"""``retail reactions``: run them without Dagster, and tell them something."""

from __future__ import annotations

from typing import Annotated

import typer

from retail_platform.cli.app import app, err, harmless, out
from retail_platform.settings import get_settings

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
    from retail_platform import kafka
    from retail_platform.producer.message import price_rollback
    from retail_platform.producer.send import send

    settings = get_settings()
    kafka.ensure_topics(settings)
    report = send(settings, [price_rollback(product)])
    if report.failed:
        err.print(f"Kafka refused it: {report.refused[0]}")
        raise typer.Exit(1)
    out.print(f"asked to roll back the price of {harmless(product)}")
