"""The dbt project as tests run it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from retail_platform.settings import Settings
from retail_platform.warehouse import dbt_run
from retail_platform.warehouse.dbt import exported, window


class DbtProject(dbt_run.DbtProject):
    """With a look at what one test finds."""

    def rows_of_test(self, settings: Settings, test: str, dates: Sequence[dt.date]) -> int:
        """How many rows a test finds wrong, whatever its severity."""
        with exported(window(dates)):
            (entry,) = self.invoke(settings, "test", "--select", test)
        return int(entry.failures)
