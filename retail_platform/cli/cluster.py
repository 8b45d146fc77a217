"""``retail cluster``: what a stream on EMR Serverless needs, brought there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from retail_platform.cli.app import app, err, out
from retail_platform.cluster.package import Architecture
from retail_platform.errors import RetailError
from retail_platform.settings import get_settings

cluster = typer.Typer(help="The stream on EMR Serverless.", no_args_is_help=True)
app.add_typer(cluster, name="cluster", rich_help_panel="Operate")


@cluster.command()
def package(
    architecture: Annotated[Architecture, typer.Option(help="Of the application.")] = "arm64",
    python: Annotated[
        Path | None,
        typer.Option(
            help="Folder of an unpacked Python for Linux on that architecture, which runs wherever it is put. Left out: uv "
            "downloads one.",
            exists=True,
            file_okay=False,
        ),
    ] = None,
) -> None:
    """Bring this version's package into the bucket: Python and packages, this code, the jars, the entry script.

    Parts are named by their contents; what is there is not uploaded again. Dagster launches the package of its own version.
    """
    from retail_platform.cluster.package import bring, release_id

    settings = get_settings()
    if settings.s3_bucket is None:
        raise RetailError("S3_BUCKET is missing; it is where the package goes")
    bring(settings, architecture, python, lambda line: err.print(line, soft_wrap=True))
    out.print(f"release {release_id()} is in s3://{settings.s3_bucket}/{settings.s3_prefix}/packages", soft_wrap=True)
