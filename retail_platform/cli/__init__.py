"""The command line, ``retail``: one module a group of commands, gathered here."""

from retail_platform.cli import kafka, producer  # noqa: F401  commands register themselves
from retail_platform.cli.app import main

__all__ = ["main"]
