"""The command line, ``retail``: one module a group of commands, gathered here."""

from retail_platform.cli import (  # noqa: F401  they register themselves
    backup,
    chaos,
    cluster,
    docs,
    fraud,
    kafka,
    lake,
    operate,
    pipeline,
    producer,
    quarantine,
    reactions,
    rebuild,
    serve,
    snowflake,
    stream,
    watch,
)
from retail_platform.cli.app import main

__all__ = ["main"]
