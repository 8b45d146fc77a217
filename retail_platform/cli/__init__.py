"""The command line, ``retail``: one module a group of commands, gathered here."""

from retail_platform.cli import chaos, docs, kafka, lake, operate, pipeline, producer, stream  # noqa: F401  they register themselves
from retail_platform.cli.app import main

__all__ = ["main"]
