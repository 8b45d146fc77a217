"""dbt within this process: the project is parsed once, whatever the window and the run. Importing this takes seconds."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.cli.main import dbtRunner
from dbt.contracts.graph.manifest import Manifest

from retail_platform.errors import RetailError
from retail_platform.settings import Settings
from retail_platform.warehouse.dbt import DBT_PROJECT, dbt_environment, exported, window


@dataclass
class DbtProject:
    """The project with its parsed manifest; ``folder`` takes what dbt writes."""

    folder: Path
    parsed: Manifest | None = None

    def parse(self, settings: Settings) -> Manifest:
        """Parse it for the warehouse of the settings; what is run afterwards need not."""
        self.parsed = self.invoke(settings, "parse")
        return self.parsed

    def run(
        self, settings: Settings, command: str, dates: Sequence[dt.date] = (), *options: str
    ) -> tuple[bool, dict[str, str]]:
        """Run a command for some days, or for everything: whether it succeeded; what failed, with its message."""
        with exported(window(dates) if dates else {}):
            results = self.invoke(settings, command, *options)
        failed = {
            entry.node.name: str(entry.message)
            for entry in results
            if entry.status in ("error", "fail", "runtime error")
        }
        return not failed, failed

    def invoke(self, settings: Settings, command: str, *options: str) -> Any:
        """What dbt comes to: a manifest, or the results of its nodes.

        Raises:
            RetailError: dbt could not begin; its own words are in the message.
        """
        folders = ["--project-dir", str(DBT_PROJECT), "--profiles-dir", str(DBT_PROJECT)]
        written = ["--target-path", str(self.folder / "target"), "--log-path", str(self.folder / "logs")]
        written += ["--target", settings.warehouse]
        with exported(dbt_environment(settings)):
            try:
                done = dbtRunner(manifest=self.parsed).invoke([command, "--quiet", *folders, *written, *options])
            finally:
                DuckDBConnectionManager.close_all_connections()  # type: ignore[no-untyped-call]
        if done.exception is not None:
            raise RetailError(f"dbt cannot {command} {DBT_PROJECT}: {' '.join(str(done.exception).split())[:600]}")
        return done.result
