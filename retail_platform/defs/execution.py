"""Run a job of this code location here and now, recorded in the same history that the UI shows."""

import datetime as dt
import logging
import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import yaml

from retail_platform.defs import build_defs
from retail_platform.defs.automation import RANGE_END, RANGE_START
from retail_platform.defs.common import QUIET_CONSOLE, why_step_failed
from retail_platform.defs.history import postgres_environment, postgres_storage, require_postgres
from retail_platform.settings import PROJECT_ROOT, Settings


@dataclass(frozen=True, slots=True)
class CheckOutcome:
    """What one asset check said."""

    asset: str
    name: str
    passed: bool
    severity: str
    description: str | None


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """What one run did: seconds by step, what the checks said, and why steps failed."""

    run_id: str
    success: bool
    seconds: float
    steps: dict[str, float]
    checks: tuple[CheckOutcome, ...]
    failures: tuple[str, ...]


def prepare_dagster_home(settings: Settings) -> Path:
    """DAGSTER_HOME with the project's ``dagster.yaml`` in it, and where its history is kept if not in SQLite.

    Raises:
        RetailError: the PostgreSQL of the settings cannot be used; the line says why.
    """
    home = settings.dagster_home
    home.mkdir(parents=True, exist_ok=True)
    os.environ["DAGSTER_HOME"] = str(home)
    text = (PROJECT_ROOT / "dagster.yaml").read_text(encoding="utf-8")
    if settings.dagster_postgres_host is not None:
        require_postgres(settings)
        os.environ.update(postgres_environment(settings))
        text += "\n" + yaml.safe_dump({"storage": postgres_storage(settings)})
    # Several processes come here at once, and others read it meanwhile.
    with tempfile.NamedTemporaryFile("w", dir=home, prefix="dagster.yaml.", delete=False, encoding="utf-8") as file:
        file.write(text)
    Path(file.name).replace(home / "dagster.yaml")
    return home


def run_job(
    settings: Settings,
    job: str,
    run_config: Mapping[str, Any] | None = None,
    dates: tuple[dt.date, dt.date] | None = None,
) -> RunOutcome:
    """Run ``job`` in this process; for ``dates`` (first and last) as one run. A failure is in the outcome, not raised."""
    prepare_dagster_home(settings)
    logging.getLogger("dagster").setLevel(logging.CRITICAL)
    tags = {RANGE_START: dates[0].isoformat(), RANGE_END: dates[1].isoformat()} if dates else {}
    with dg.DagsterInstance.get() as instance:
        definition = build_defs(settings).resolve_job_def(job)
        began = dt.datetime.now(dt.UTC)
        result = definition.execute_in_process(
            instance=instance, run_config={**QUIET_CONSOLE, **(run_config or {})}, tags=tags, raise_on_error=False
        )
        seconds = (dt.datetime.now(dt.UTC) - began).total_seconds()
        steps = {
            stats.step_key: stats.end_time - stats.start_time
            for stats in instance.get_run_step_stats(result.run_id)
            if stats.start_time and stats.end_time
        }
    return RunOutcome(
        result.run_id,
        result.success,
        seconds,
        dict(sorted(steps.items(), key=lambda step: -step[1])),
        _outcomes(
            event.asset_check_evaluation_data
            for event in result.all_events
            if event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION
        ),
        tuple(why_step_failed(event) for event in result.all_events if event.is_step_failure),
    )


def _outcomes(evaluations: Iterable[dg.AssetCheckEvaluation]) -> tuple[CheckOutcome, ...]:
    """One outcome a check, in the order in which they came: of a check with a verdict a date, the worst one."""
    found: dict[dg.AssetCheckKey, CheckOutcome] = {}
    for each in evaluations:
        known = found.get(each.asset_check_key)
        if known is None or known.passed:
            found[each.asset_check_key] = CheckOutcome(
                each.asset_key.to_user_string(), each.check_name, each.passed, each.severity.value, each.description
            )
    return tuple(found.values())
