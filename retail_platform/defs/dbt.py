"""The dbt project as assets: the seed of exchange rates, models by date and snapshot, with their tests as checks."""

import os
import sys
from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_dbt import (
    DagsterDbtTranslator,
    DagsterDbtTranslatorSettings,
    DbtCliInvocation,
    DbtCliResource,
    dbt_assets,
)
from dagster_dbt.errors import DagsterDbtCliRuntimeError
from packaging.version import Version

from retail_platform.defs.common import WAREHOUSE_POOL, daily_partitions, dates_of, failed_by_checks
from retail_platform.settings import Settings
from retail_platform.warehouse.dbt import (
    DBT_PROJECT,
    dbt_environment,
    dbt_manifest,
    dbt_target,
    exported,
    faults,
    fx_rates_loaded,
    query_tag,
    window,
)

SEEDS = "dbt_seeds"
MODELS = "dbt_models"


class Translator(DagsterDbtTranslator):
    """Names a dbt node ``<layer>/<name>``, where the layer is its schema: the same address as its table."""

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> dg.AssetKey:
        """``raw/…`` for a source, ``seeds/…``, ``staging/…``, ``intermediate/…`` or ``marts/…``."""
        return dg.AssetKey([_layer(dbt_resource_props), dbt_resource_props["name"]])

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str:
        """The layer."""
        return _layer(dbt_resource_props)

    def get_description(self, dbt_resource_props: Mapping[str, Any]) -> str:
        """The model's own description, without its SQL."""
        return str(dbt_resource_props["description"]).strip()

    def get_owners(self, dbt_resource_props: Mapping[str, Any]) -> list[str]:
        """The team that answers for the model's numbers."""
        owner = dbt_resource_props.get("config", {}).get("meta", {}).get("owner", "analytics")
        return [f"team:{owner}"]

    def get_tags(self, dbt_resource_props: Mapping[str, Any]) -> dict[str, str]:
        """The layer."""
        return {"layer": _layer(dbt_resource_props)}


class DbtCli(DbtCliResource):
    """dbt's command line, started without what the daily run never asks for.

    Dagster's resource first starts dbt once more to read its version, and loads all of dbt into this process for a handle
    to the warehouse that only row counts and column metadata use: six seconds, more than building a day takes.
    """

    @cached_property
    def _cli_version(self) -> Version:
        return Version(metadata.version("dbt-core"))

    def _initialize_dbt_core_adapter(self, _args: Any) -> None:  # type: ignore[override]
        return None


def build(settings: Settings) -> dg.Definitions:
    """The seed, the models and the snapshot."""
    os.environ.update(dbt_environment(settings))
    manifest = dbt_manifest(settings)
    executable = str(Path(sys.executable).with_name("dbt"))
    resource = DbtCli(
        project_dir=str(DBT_PROJECT),
        profiles_dir=str(DBT_PROJECT),
        target=settings.warehouse,
        dbt_executable=executable,
    )
    return dg.Definitions(assets=[_seeds(settings, manifest), _models(settings, manifest)], resources={"dbt": resource})


def _seeds(settings: Settings, manifest: Path) -> dg.AssetsDefinition:
    target = dbt_target(settings)

    @dbt_assets(
        manifest=manifest,
        name=SEEDS,
        select="resource_type:seed",
        # The seed's tests run when it is loaded, and fail that step; a run that loads nothing could not report them.
        dagster_dbt_translator=Translator(DagsterDbtTranslatorSettings(enable_asset_checks=False)),
        pool=WAREHOUSE_POOL,
    )
    def seeds(context: dg.AssetExecutionContext, dbt: DbtCli) -> Iterator[Any]:
        """Load the seeds. Every daily run passes here, and starting dbt takes seconds: only when they have changed."""
        from retail_platform.warehouse.factory import open_warehouse

        warehouse = open_warehouse(settings)
        warehouse.create_tables()
        if fx_rates_loaded(warehouse):
            yield dg.MaterializeResult(asset_key=next(iter(context.selected_asset_keys)), metadata={"unchanged": True})
        else:
            yield from dbt.cli(["build"], context=context, target_path=target).stream()

    return seeds


def _models(settings: Settings, manifest: Path) -> dg.AssetsDefinition:
    target = dbt_target(settings)

    @dbt_assets(
        manifest=manifest,
        name=MODELS,
        exclude="resource_type:seed",
        dagster_dbt_translator=Translator(),
        partitions_def=daily_partitions(settings),
        backfill_policy=dg.BackfillPolicy.single_run(),
        pool=WAREHOUSE_POOL,
    )
    def models(context: dg.AssetExecutionContext, dbt: DbtCli) -> Iterator[Any]:
        """Build and test the models over these dates, and the snapshot after them, in one dbt invocation."""
        dates = dates_of(context)
        # The resource hands this process's environment on to the dbt that it starts.
        with exported(window(dates) | query_tag(context.run.run_id, dates)):
            invocation = dbt.cli(["build", "--exclude", "test_type:unit"], context=context, target_path=target)
        yield from _built(invocation, target)

    return models


def _built(invocation: DbtCliInvocation, target: Path) -> Iterator[Any]:
    """What the invocation reports; when tests failed and nothing else did, the step fails by the names of their checks."""
    failed = []
    try:
        for event in invocation.stream():
            if isinstance(event, dg.AssetCheckResult) and not event.passed:
                failed.append(event)
            yield event
    except DagsterDbtCliRuntimeError:
        errors = [str(check.check_name) for check in failed if check.severity is dg.AssetCheckSeverity.ERROR]
        if errors and len(errors) == len(faults(target)):
            raise failed_by_checks(errors) from None
        raise


def _layer(node: Mapping[str, Any]) -> str:
    # The schema of a source may be another by setting.
    return str(node["source_name"] if node["resource_type"] == "source" else node["schema"])
