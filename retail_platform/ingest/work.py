"""Work on the lake other than streaming, by name: what a request to the running stream, or a Dagster step, can ask for."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterator, Mapping
from typing import Any

from retail_platform.contracts import TRANSACTIONS
from retail_platform.errors import RetailError
from retail_platform.ingest.lake import Lake, open_lake
from retail_platform.ingest.maintenance import optimize, vacuum
from retail_platform.ingest.rebuild import rebuild_minutes, rebuild_silver
from retail_platform.ingest.session import end_session, jvm_pid, spark_session
from retail_platform.lakehouse import requests
from retail_platform.lakehouse.lease import lake_lease
from retail_platform.lakehouse.snapshot import snapshot_lake
from retail_platform.settings import Settings


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
        case "optimize":
            return optimize(lake, settings, arguments["tables"])
        case "vacuum":
            return vacuum(lake, settings, arguments["tables"])
        case "snapshot":
            with contextlib.ExitStack() as held:
                for table in lake.tables:
                    held.enter_context(table.held())
                snapshot_lake(settings)
            return {}
    raise RetailError(f"no such work: {work}")


def serve(lake: Lake, settings: Settings, request: requests.Request) -> None:
    """Do what a request asks for, and answer it, whatever comes of it."""
    try:
        result = do_work(lake, settings, request.work, request.arguments)
    except Exception as error:  # noqa: BLE001  (whatever it is, it belongs to who asked, not to the stream)
        requests.answer(settings, request, None, one_line(error))
    else:
        requests.answer(settings, request, result)


def one_line(error: Exception) -> str:
    """What went wrong with a piece of work: our own words, or the first line of somebody else's with the error's name."""
    said = str(error) if isinstance(error, RetailError) else f"{type(error).__name__}: {error}"
    return said.splitlines()[0]


def do_alone(settings: Settings, work: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Take the lake's lease, start Spark, do ``work``, and end Spark.

    Raises:
        LakeInUse: a stream runs, or somebody else works on the lake.
        RetailError: as :func:`do_work`; or Spark cannot start.
    """
    with lake_alone(settings, work) as lake:
        return do_work(lake, settings, work, arguments)


@contextlib.contextmanager
def lake_alone(settings: Settings, work: str) -> Iterator[Lake]:
    """The lake, for ``work`` under its lease and with a Spark of its own, which ends with the block.

    Raises:
        LakeInUse: a stream runs, or somebody else works on the lake.
        RetailError: Spark cannot start.
    """
    with lake_lease(settings, work) as lease:
        spark = spark_session(settings, f"retail-{work}")
        lease.name_jvm(jvm_pid(spark))
        try:
            yield open_lake(spark, settings)
        finally:
            end_session(spark)
