"""A load, or a write of the KPI file, that is killed leaves the old or the new, whole; done again, nothing shows of it."""

from __future__ import annotations

import datetime as dt
import signal
import subprocess
import sys
from decimal import Decimal

import pytest

from retail_platform.lakehouse.manifest import manifest
from retail_platform.settings import PROJECT_ROOT, Settings, child_environment
from retail_platform.warehouse import open_warehouse
from retail_platform.warehouse.kpi_file import DailyKpi, read_daily, upsert_daily
from retail_platform_tests.warehouse.silver import LINES, line, write_lake

FIRST, SECOND = dt.date(2010, 12, 1), dt.date(2010, 12, 2)

DOOMED = """
import datetime as dt, sys
from decimal import Decimal
from retail_platform.chaos.doomed_daily import put_under
from retail_platform.lakehouse.manifest import manifest
from retail_platform.settings import get_settings
from retail_platform.warehouse import open_warehouse
from retail_platform.warehouse.kpi_file import DailyKpi, upsert_daily
from retail_platform_tests.warehouse.silver import LINES

settings, second = get_settings(), dt.date(2010, 12, 2)
put_under(settings, sys.argv[1])
open_warehouse(settings).load(manifest(settings, LINES, [second]), "killed")
upsert_daily(settings.kpi_csv, [DailyKpi(second, 5_000, Decimal(7), Decimal(1), None)])
"""


def die_at(settings: Settings, point: str) -> None:
    """Load the second day and write its row of the KPI file, in a process that dies at ``point``."""
    done = subprocess.run(
        [sys.executable, "-c", DOOMED, point],
        env=child_environment(settings),
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize(
    ("point", "loaded"), [("after:stage", False), ("before:commit", False), ("after:commit", True)]
)
def test_a_load_that_was_killed_left_all_of_its_day_or_nothing_and_is_whole_when_done_again(
    settings: Settings, point: str, loaded: bool
) -> None:
    write_lake(settings, [line("a", FIRST), *(line(f"b{number}", SECOND) for number in range(5_000))])
    warehouse = open_warehouse(settings)
    warehouse.load(manifest(settings, LINES, [FIRST]), "first")
    die_at(settings, point)
    found = warehouse.query("select count(*) as rows from raw.transaction_lines").to_pylist()
    assert found == [{"rows": 5_001 if loaded else 1}]
    assert set(warehouse.loaded_versions(LINES, [FIRST, SECOND])) == ({FIRST, SECOND} if loaded else {FIRST})

    again = warehouse.load(manifest(settings, LINES, [SECOND]), "again")
    assert (again.inserted, again.updated, again.deleted) == (0 if loaded else 5_000, 0, 0)
    assert warehouse.reconcile(LINES, [FIRST, SECOND]) == []


@pytest.mark.parametrize(("point", "written"), [("before:rename", False), ("after:rename", True)])
def test_a_kpi_file_whose_write_was_killed_is_the_old_one_or_the_new_one(
    settings: Settings, point: str, written: bool
) -> None:
    first = DailyKpi(FIRST, 1, Decimal("10.00"), Decimal("10.00"), 42)
    write_lake(settings, [line("a", FIRST), line("b", SECOND)])
    upsert_daily(settings.kpi_csv, [first])
    die_at(settings, point)
    second = DailyKpi(SECOND, 5_000, Decimal("7.00"), Decimal("1.00"), None)
    assert read_daily(settings.kpi_csv) == ([first, second] if written else [first])

    upsert_daily(settings.kpi_csv, [second])
    assert read_daily(settings.kpi_csv) == [first, second]
