"""Work on the lake other than streaming, by name: what a request to the running stream, or a Dagster step, can ask for."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from retail_platform.contracts import TRANSACTIONS
from retail_platform.errors import RetailError
from retail_platform.ingest.lake import Lake
from retail_platform.ingest.rebuild import rebuild_minutes, rebuild_silver
from retail_platform.settings import Settings

REBUILD_SILVER = "rebuild_silver"
REBUILD_MINUTES = "rebuild_minutes"


def do_work(lake: Lake, settings: Settings, work: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Do ``work`` now; its result as JSON values.

    Raises:
        RetailError: there is no such work, or it cannot be done now.
    """
    match work:
        case "rebuild_silver":
            dates = [dt.date.fromisoformat(date) for date in arguments["dates"]]
            contract = next(entry for entry in settings.topics if entry.silver_name == arguments["table"])
            result = rebuild_silver(lake, settings, contract, dates)
            if contract.silver_name == TRANSACTIONS.silver_name:
                rebuild_minutes(lake, dates)
            return result
        case "rebuild_minutes":
            return rebuild_minutes(lake, [dt.date.fromisoformat(date) for date in arguments["dates"]])
    raise RetailError(f"no such work: {work}")
