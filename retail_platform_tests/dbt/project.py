"""Runs the dbt project in this process, for tests: parsed once, whatever the window and the warehouse."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.cli.main import dbtRunner
from dbt.contracts.graph.manifest import Manifest

from retail_platform.settings import Settings
from retail_platform.warehouse.dbt import DBT_PROJECT, dbt_environment, window


@dataclass
class DbtProject:
    """The project with its parsed manifest; ``folder`` takes what dbt writes."""

    folder: Path
    parsed: Manifest | None = None

    def parse(self, settings: Settings) -> Manifest:
        result = self._invoke(settings, "parse")
        assert isinstance(result.result, Manifest), result.exception
        self.parsed = result.result
        return self.parsed

    def run(
        self, settings: Settings, command: str, dates: Sequence[dt.date] = (), *options: str
    ) -> tuple[bool, dict[str, str]]:
        """Run a command for some days, or for everything: whether it succeeded; what failed, with its message."""
        with patch.dict(os.environ, window(dates) if dates else {}):
            result = self._invoke(settings, command, *options)
        assert result.exception is None, result.exception
        failed = {
            entry.node.name: str(entry.message)
            for entry in result.result
            if entry.status in ("error", "fail", "runtime error")
        }
        return result.success, failed

    def rows_of_test(self, settings: Settings, test: str, dates: Sequence[dt.date]) -> int:
        """How many rows a test finds wrong, whatever its severity."""
        with patch.dict(os.environ, window(dates)):
            result = self._invoke(settings, "test", "--select", test)
        assert result.exception is None, result.exception
        (entry,) = result.result
        return int(entry.failures)

    def _invoke(self, settings: Settings, command: str, *options: str):
        folders = ["--project-dir", str(DBT_PROJECT), "--profiles-dir", str(DBT_PROJECT)]
        written = ["--target-path", str(self.folder / "target"), "--log-path", str(self.folder / "logs")]
        written += ["--target", settings.warehouse]
        with patch.dict(os.environ, dbt_environment(settings)):
            try:
                return dbtRunner(manifest=self.parsed).invoke([command, "--quiet", *folders, *written, *options])
            finally:
                DuckDBConnectionManager.close_all_connections()
