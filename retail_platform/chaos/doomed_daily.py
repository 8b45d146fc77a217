"""The real daily job (`retail run`), but that it kills itself with SIGKILL at a named point of its work.

``python -m retail_platform.chaos.doomed_daily --point before:commit --from 2026-01-01 --to 2026-01-02``. The points are
those of the load of the transactions (DuckDB's) and of the KPI file; the job has no hook for them, as in ``doomed.py``.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from retail_platform.chaos.points import DAILY_POINTS
from retail_platform.contracts import TRANSACTIONS
from retail_platform.lakehouse.manifest import Manifest
from retail_platform.settings import Settings, get_settings
from retail_platform.warehouse import duckdb


def put_under(settings: Settings, point: str) -> None:
    """Have this process die at ``point``.

    ``after:stage`` has staged the rows and merged none, ``before:commit`` merged and committed none; ``before:rename`` has
    the whole KPI file beside the old one.
    """
    match point:
        case "after:stage":
            duckdb._stage = _dying(duckdb._stage)  # noqa: SLF001
        case "before:commit":
            duckdb._record = _dying(duckdb._record)  # noqa: SLF001
        case "after:commit":
            duckdb.DuckDBWarehouse.load = _dying(duckdb.DuckDBWarehouse.load)  # type: ignore[method-assign]
        case "before:rename" | "after:rename":
            _die_at_rename(settings.kpi_csv, after=point.startswith("after"))


def _dying(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, and death behind it where it was about the transactions."""

    def call(*arguments: Any) -> Any:
        result = function(*arguments)
        if any(isinstance(each, Manifest) and each.table == TRANSACTIONS.silver_table for each in arguments):
            _die()
        return result

    return call


def _die_at_rename(file: Path, *, after: bool) -> None:
    rename = Path.replace

    def replace(draft: Path, target: Path) -> Path:
        if target != file:
            return rename(draft, target)
        if after:
            rename(draft, target)
        _die()
        raise AssertionError

    Path.replace = replace  # type: ignore[assignment,method-assign]


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main(arguments: list[str] | None = None) -> int:
    """Run the daily job to its death, or to its end where it does not come to the point."""
    parser = argparse.ArgumentParser(prog="retail_platform.chaos.doomed_daily", description=__doc__)
    parser.add_argument("--point", choices=DAILY_POINTS, required=True)
    parser.add_argument("--from", required=True)
    parser.add_argument("--to", required=True)
    given = vars(parser.parse_args(arguments))
    put_under(get_settings(), given["point"])
    sys.argv[1:] = ["run", "--no-drain", "--from", given["from"], "--to", given["to"]]
    (retail,) = entry_points(group="console_scripts", name="retail")
    retail.load()()
    return 0


if __name__ == "__main__":
    sys.exit(main())
