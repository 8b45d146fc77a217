"""What every stage declares in the same way: the daily partitions, an asset made from its contract, one-line failures."""

import contextlib
import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData,
)

from retail_platform.contracts.model import Table
from retail_platform.errors import RetailError
from retail_platform.settings import Settings

#: The result of a step that hands no value on: what it wrote is in the lake, the warehouse or a file.
Materialized = dg.MaterializeResult[None]

#: What a check yields that has a verdict for each of its dates: ``Iterator[AssetCheckEvaluation | Output]``, of which the
#: decorator's own types know nothing.
Verdicts = Any

#: What ``dg.define_asset_job`` returns, which Dagster does not export by name.
JobSelection = Any

#: Run configuration of runs that nobody watches on a terminal: the event log has every detail, the console what went wrong.
QUIET_CONSOLE: dict[str, Any] = {"loggers": {"console": {"config": {"log_level": "WARNING"}}}}

#: Writers of the embedded warehouse take turns; see ``dagster.yaml``.
WAREHOUSE_POOL = "warehouse"

_FAILED_CHECKS = "failed_checks"


def daily_partitions(settings: Settings) -> dg.DailyPartitionsDefinition:
    """One partition a business date, from PARTITIONS_START_DATE to today, which is still open."""
    return dg.DailyPartitionsDefinition(
        start_date=settings.partitions_start_date.isoformat(), timezone=settings.business_timezone, end_offset=1
    )


def table_spec(table: Table, deps: Sequence[dg.AssetKey | Sequence[str]], kinds: set[str], **more: Any) -> dg.AssetSpec:
    """The asset of a contract's table: its key, description, owner and columns are the contract's."""
    return dg.AssetSpec(
        list(table.asset_key),
        deps=deps,
        description=table.description,
        group_name=table.layer,
        kinds=kinds,
        owners=[f"team:{table.owner}"],
        metadata={"dagster/column_schema": column_schema(table), "grain": table.grain, "key": ", ".join(table.key)},
        tags={"layer": table.layer},
        **more,
    )


def column_schema(table: Table) -> dg.TableSchema:
    """The contract's columns as Dagster shows them."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                column.name,
                column.type.spark,
                description=column.description,
                constraints=dg.TableColumnConstraints(nullable=column.nullable),
            )
            for column in table.columns
        ]
    )


def dates_of(context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext) -> list[dt.date]:
    """The business dates that a run of a partitioned step is for."""
    return [dt.date.fromisoformat(key) for key in context.partition_keys]


def per_date(rows: Sequence[Sequence[Any]], names: Sequence[str]) -> dg.TableMetadataValue:
    """A table for the UI: one record a business date (a range run records no partition, so the dates stand here)."""
    records = [dg.TableRecord({name: _shown(value) for name, value in zip(names, row, strict=True)}) for row in rows]
    columns = [dg.TableColumn(name, "string") for name in names]
    return dg.MetadataValue.table(records, dg.TableSchema(columns))


def verdicts(
    context: dg.AssetCheckExecutionContext, dates: Sequence[dt.date], faults: Mapping[dt.date, Sequence[str]]
) -> Iterator[dg.AssetCheckEvaluation | dg.Output[None]]:
    """A check's verdict on each date: it failed on those that have ``faults``, one sentence each.

    A result that Dagster makes itself is one for the whole range that a run is for, and the UI shows it on none of its days.
    """
    spec = next(iter(context.check_specs))
    targets = newest_materializations(context.instance, spec.asset_key, dates)
    for date in dates:
        target = targets.get(date)
        wrong = list(faults.get(date, ()))
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        yield dg.AssetCheckEvaluation(
            asset_key=spec.asset_key,
            check_name=spec.name,
            passed=not wrong,
            description=f"{wrong[0]}{more}" if wrong else None,
            metadata={"faults": wrong} if wrong else {},
            blocking=spec.blocking,
            partition=date.isoformat(),
            target_materialization_data=AssetCheckEvaluationTargetMaterializationData(
                storage_id=target.storage_id, run_id=target.run_id, timestamp=target.timestamp
            )
            if target
            else None,
        )
    yield dg.Output(None)


def newest_materializations(
    instance: dg.DagsterInstance, key: dg.AssetKey, dates: Sequence[dt.date]
) -> dict[dt.date, dg.EventLogRecord]:
    """The newest materialization of each date's partition that has one."""
    newest = instance.get_latest_storage_id_by_partition(
        key, dg.DagsterEventType.ASSET_MATERIALIZATION, {date.isoformat() for date in dates}
    )
    if not newest:
        return {}
    wanted = dg.AssetRecordsFilter(key, storage_ids=list(newest.values()))
    return {
        dt.date.fromisoformat(record.partition_key): record
        for record in instance.fetch_materializations(wanted, limit=len(newest)).records
        if record.partition_key is not None
    }


@contextlib.contextmanager
def one_line_failures() -> Iterator[None]:
    """A mistake that the user can mend fails the step with its one line, not with a traceback, and is not retried."""
    try:
        yield
    except RetailError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from None


def failed_by_checks(names: Sequence[str]) -> dg.Failure:
    """What to raise when checks that a step has reported, and nothing else, are why it cannot go on."""
    return dg.Failure(
        description=f"failed checks: {', '.join(names)}", metadata={_FAILED_CHECKS: list(names)}, allow_retries=False
    )


def is_by_checks(event: dg.DagsterEvent) -> bool:
    """Whether a step failed by its checks alone: those that Dagster calls blocking, or those of a tool that it runs."""
    data = event.step_failure_data
    if data.user_failure_data is not None:
        return _FAILED_CHECKS in data.user_failure_data.metadata
    return data.error is not None and data.error.cls_name == "DagsterAssetCheckFailedError"


def why_step_failed(event: dg.DagsterEvent) -> str:
    """A failed step and its cause, in one line."""
    data = event.step_failure_data
    said = data.user_failure_data.description if data.user_failure_data else None
    if said is None and data.error is not None:
        cause = data.error.cause or data.error
        said = cause.message.strip().splitlines()[0]
    return f"{event.step_key}: {said}"


def _shown(value: Any) -> str | int | float | bool | None:
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)
