"""The dbt project as tests run it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from retail_platform.settings import Settings
from retail_platform.warehouse import dbt_run
from retail_platform.warehouse.dbt import exported, window


class DbtProject(dbt_run.DbtProject):
    """With a look at what tests find."""

    def found_by(self, settings: Settings, tests: Sequence[str], dates: Sequence[dt.date]) -> set[str]:
        """Which of the tests find something wrong, whatever their severity."""
        with exported(window(dates)):
            entries = list(self.invoke(settings, "test", "--select", *tests))
        assert {entry.node.name for entry in entries} == set(tests)
        return {entry.node.name for entry in entries if entry.failures}
