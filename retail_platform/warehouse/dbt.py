"""What the dbt project asks of whoever runs it: where it is, its environment, its variables. Running it is the caller's."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from retail_platform.settings import PROJECT_ROOT, Settings

DBT_PROJECT = PROJECT_ROOT / "dbt_project"
FX_RATES = DBT_PROJECT / "seeds" / "fx_rates.csv"


def dbt_environment(settings: Settings) -> dict[str, str]:
    """The environment variables that ``profiles.yml`` reads, for the warehouse of the settings."""
    return {"RETAIL_WAREHOUSE_PATH": str(settings.warehouse_path)}


def window(dates: Sequence[dt.date]) -> dict[str, str]:
    """The ``--vars`` that limit the daily marts to the days from the first of ``dates`` to the last: half open."""
    return {
        "start_date": min(dates).isoformat(),
        "end_date": (max(dates) + dt.timedelta(days=1)).isoformat(),
    }
