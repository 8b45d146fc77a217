"""``retail cluster``: what a stream on EMR Serverless needs, brought there; ``retail executor``: a pod of Spark's."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, NoReturn

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


@app.command(hidden=True)
def executor() -> NoReturn:
    """An executor of the stream on Kubernetes. Spark starts it, in a pod, with this very word."""
    from retail_platform.cluster.executor import executor_command, executor_environment, working_folder
    from retail_platform.embedded.jars import package_dir
    from retail_platform.embedded.java import find_java
    from retail_platform.ingest.spark_config import LOGGING

    java = find_java()
    command = executor_command(os.environ, java, package_dir("pyspark"), LOGGING)
    # Spark keeps the jars that it fetches in the working folder; the image's own is not the user's.
    os.chdir(working_folder(os.environ))
    os.execve(java, command, executor_environment(os.environ))  # noqa: S606
