"""The daily job through Dagster: the real month to the cent, a range equal to single days, and checks that fail by name."""

from __future__ import annotations

import csv
import datetime as dt
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
import duckdb
import pytest

from retail_platform.contracts import INGEST_BATCHES, INVENTORY, TRANSACTIONS
from retail_platform.defs import build_defs
from retail_platform.defs.automation import DAILY_JOB, LAKE_CHECKS_JOB, RANGE_END, RANGE_START
from retail_platform.defs.common import is_by_checks, why_step_failed
from retail_platform.defs.execution import RunOutcome, prepare_dagster_home, run_job
from retail_platform.producer import online_retail
from retail_platform.settings import Settings
from retail_platform_tests.ingest.running import deliver, drain, message, sale
from retail_platform_tests.warehouse.silver import batch, line, row_of, write

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

MONTH = (dt.date(2010, 12, 1), dt.date(2010, 12, 23))


def _copy(sample: Settings, folder: Path) -> Settings:
    """The sample's state in a place of its own, to be built on or broken."""
    shutil.copytree(sample.retail_home, folder / "home")
    return sample.model_copy(update={"retail_home": folder / "home", "retail_outputs": folder / "outputs"})


@pytest.fixture(scope="module")
def month(sample_lake: Settings, tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, RunOutcome]:
    """The whole month as one range."""
    settings = _copy(sample_lake, tmp_path_factory.mktemp("month"))
    return settings, run_job(settings, DAILY_JOB, dates=MONTH)


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_the_kpi_file_equals_the_published_figures_on_every_date(month: tuple[Settings, RunOutcome]) -> None:
    settings, outcome = month
    assert outcome.failures == ()
    assert outcome.success
    assert [check for check in outcome.checks if not check.passed] == []
    expected = _rows(online_retail.sample_expected_daily())
    found = [{name: row[name] for name in expected[0]} for row in _rows(settings.kpi_csv)]
    assert found == expected
    assert all(int(row["streaming_latency_ms"]) >= 0 for row in _rows(settings.kpi_csv))


def test_the_run_names_every_kind_of_check(month: tuple[Settings, RunOutcome]) -> None:
    names = {check.name for check in month[1].checks}
    assert {"unique_key", "reconciles_with_silver", "ties_out_with_silver", "every_currency_has_a_rate"} <= names
    assert "versions_follow_each_other_customer_rfm_snapshot_customer_id" in names


def test_each_day_of_a_range_has_its_own_verdicts(month: tuple[Settings, RunOutcome]) -> None:
    prepare_dagster_home(month[0])
    keys = [
        dg.AssetCheckKey(dg.AssetKey(["silver", "transaction_lines"]), "unique_key"),
        dg.AssetCheckKey(dg.AssetKey(["raw", "transaction_lines"]), "reconciles_with_silver"),
        dg.AssetCheckKey(dg.AssetKey(["marts", "agg_daily_kpis"]), "ties_out_with_silver"),
    ]
    with dg.DagsterInstance.get() as instance:
        found = instance.event_log_storage.get_asset_check_partition_info(keys)
    days = {(MONTH[0] + dt.timedelta(n)).isoformat() for n in range((MONTH[1] - MONTH[0]).days + 1)}
    for key in keys:
        verdicts = {info.partition_key: info.latest_execution_status.value for info in found if info.check_key == key}
        assert verdicts == dict.fromkeys(days, "SUCCEEDED")
    assert all(info.is_current for info in found)


def test_a_day_alone_equals_its_part_of_a_range_and_a_rerun_changes_nothing(
    month: tuple[Settings, RunOutcome], sample_lake: Settings, tmp_path: Path
) -> None:
    ranged, _ = month
    single = _copy(sample_lake, tmp_path)
    first, second = dt.date(2010, 12, 1), dt.date(2010, 12, 2)
    assert run_job(single, DAILY_JOB, dates=(second, second)).success
    wanted = [row for row in _rows(ranged.kpi_csv) if row["date"] in (first.isoformat(), second.isoformat())]
    assert _rows(single.kpi_csv) == wanted[1:]
    assert run_job(single, DAILY_JOB, dates=(first, second)).success
    assert _rows(single.kpi_csv) == wanted


def test_the_checks_on_the_lake_pass(month: tuple[Settings, RunOutcome]) -> None:
    outcome = run_job(month[0], LAKE_CHECKS_JOB)
    assert outcome.failures == ()
    assert {check.name: check.passed for check in outcome.checks} == {
        "contract": True,
        "balance": True,
        "lost_offsets": True,
        "offsets": True,
        "quarantine_rate": True,
    }


def test_a_days_broken_figures_fail_the_tie_out_by_name(month: tuple[Settings, RunOutcome], tmp_path: Path) -> None:
    settings = _copy(month[0], tmp_path)
    with duckdb.connect(settings.warehouse_path) as connection:
        connection.execute("update marts.agg_daily_kpis set orders = orders + 1 where business_date = '2010-12-03'")
    key = dg.AssetCheckKey(dg.AssetKey(["marts", "agg_daily_kpis"]), "ties_out_with_silver")
    found = _evaluate(settings, key, "2010-12-03")
    assert not found.passed
    assert found.description == "marts/agg_daily_kpis 2010-12-03: orders is 74, silver has 73"
    assert _evaluate(settings, key, "2010-12-02").passed


def test_a_failed_dbt_test_fails_the_step_by_its_name_and_is_told_as_a_check_alone(
    month: tuple[Settings, RunOutcome], tmp_path: Path
) -> None:
    settings = _copy(month[0], tmp_path)
    with duckdb.connect(settings.warehouse_path) as connection:
        connection.execute("update raw.transaction_lines set channel = 'fax' where business_date = '2010-12-03'")
    prepare_dagster_home(settings)
    with dg.DagsterInstance.get() as instance:
        result = (
            build_defs(settings)
            .resolve_implicit_global_asset_job_def()
            .execute_in_process(
                instance=instance,
                asset_selection=[dg.AssetKey(["staging", "stg_transaction_lines"])],
                partition_key="2010-12-03",
                raise_on_error=False,
            )
        )
    (failed,) = [found for found in result.get_asset_check_evaluations() if not found.passed]
    assert failed.asset_key == dg.AssetKey(["staging", "stg_transaction_lines"])
    (step,) = [event for event in result.all_events if event.is_step_failure]
    assert why_step_failed(step) == f"dbt_models: failed checks: {failed.check_name}"
    assert is_by_checks(step)


def test_a_row_that_the_warehouse_lost_fails_the_reconciliation_by_name(
    month: tuple[Settings, RunOutcome], tmp_path: Path
) -> None:
    settings = _copy(month[0], tmp_path)
    with duckdb.connect(settings.warehouse_path) as connection:
        connection.execute(
            "delete from raw.transaction_lines where business_date = '2010-12-03' and line_number = 1 "
            "and event_id = (select min(event_id) from raw.transaction_lines where business_date = '2010-12-03')"
        )
    key = dg.AssetCheckKey(dg.AssetKey(["raw", "transaction_lines"]), "reconciles_with_silver")
    found = _evaluate(settings, key, "2010-12-03")
    assert not found.passed
    assert found.description is not None
    assert "transaction_lines 2010-12-03: rows is" in found.description


def test_a_lost_record_fails_the_balance_by_name(spark: SparkSession, lake_settings: Settings) -> None:
    from retail_platform.ingest.lake import open_lake

    deliver(lake_settings, [message(sale()), message(sale()), message(b"junk")])
    drain(spark, lake_settings)
    silver = open_lake(spark, lake_settings).silver[TRANSACTIONS.silver_name]
    kept = silver.read().where("event_id <> (select min(event_id) from delta.`" + silver.path + "`)").persist()
    date = kept.first()["business_date"]  # type: ignore[index]
    silver.replace(kept, f"business_date = date'{date}'")
    key = dg.AssetCheckKey(dg.AssetKey(["bronze", "events"]), "balance")
    found = _evaluate(lake_settings, key)
    assert (found.passed, found.description) == (False, "retail-transactions: +1")


def test_a_closed_day_is_loaded_again_when_something_late_has_come_to_any_of_its_tables(
    month: tuple[Settings, RunOutcome], tmp_path: Path
) -> None:
    settings = _copy(month[0], tmp_path)
    assert _late(settings) == ([], "every closed day is loaded as it is")
    early, later = dt.date(2010, 12, 3), dt.date(2010, 12, 20)
    receipt = {"event_id": "late", "event_time": f"{later}T12:00:00Z", "store_id": "S1", "product_id": "P1"}
    receipt |= {"movement": "receipt", "quantity": 5, "reference": "D-1"}
    write(settings, INGEST_BATCHES, [batch(0, [early])])
    write(settings, TRANSACTIONS.silver_table, [line("late", early)])
    write(settings, INVENTORY.silver_table, [row_of(INVENTORY, receipt, 0)])

    wanted, _ = _late(settings)
    assert wanted == [(early, early), (later, later)]
    for dates in wanted:
        assert run_job(settings, DAILY_JOB, dates=dates).success
    assert _late(settings) == ([], "every closed day is loaded as it is")
    (before,) = [row for row in _rows(month[0].kpi_csv) if row["date"] == str(early)]
    (after,) = [row for row in _rows(settings.kpi_csv) if row["date"] == str(early)]
    assert int(after["orders"]) == int(before["orders"]) + 1


def _late(settings: Settings) -> tuple[list[tuple[dt.date, dt.date]], str | None]:
    """What a tick of the late-arrivals sensor wants to run, as first and last dates; and why nothing."""
    prepare_dagster_home(settings)
    repository = build_defs(settings).get_repository_def()
    with dg.DagsterInstance.get() as instance:
        context = dg.build_sensor_context(instance=instance, repository_def=repository)
        tick = repository.get_sensor_def("late_arrivals").evaluate_tick(context)
    ranges = [[dt.date.fromisoformat(run.tags[tag]) for tag in (RANGE_START, RANGE_END)] for run in tick.run_requests]
    return [(first, last) for first, last in ranges], tick.skip_message


def _evaluate(settings: Settings, key: dg.AssetCheckKey, partition: str | None = None) -> dg.AssetCheckEvaluation:
    """Run one check, as the UI's Execute button does."""
    prepare_dagster_home(settings)
    job = dg.define_asset_job("one_check", selection=dg.AssetSelection.checks(key))
    defs = dg.Definitions.merge(build_defs(settings), dg.Definitions(jobs=[job]))
    with dg.DagsterInstance.get() as instance:
        result = defs.resolve_job_def("one_check").execute_in_process(
            instance=instance, tags={"dagster/partition": partition} if partition else {}, raise_on_error=False
        )
    (found,) = result.get_asset_check_evaluations()
    return found
