"""The graph as people see it: a change of it shows in review, and nothing in it is without a word of explanation."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
from syrupy.assertion import SnapshotAssertion

from retail_platform.defs import build_defs
from retail_platform.settings import PROJECT_ROOT, child_environment, load_settings

# What must not be loaded by who only reads the definitions: each costs seconds, at every start of every process.
HEAVY = (
    "sklearn",
    "pyspark",
    "dagster_pyspark",
    "dagster_snowflake",
    "snowflake.connector",
    "streamlit",
    "dbt.cli.main",
)


@pytest.fixture(scope="module")
def defs(tmp_path_factory: pytest.TempPathFactory) -> dg.Definitions:
    """The definitions of the default settings."""
    return build_defs(load_settings(env_file=None, retail_home=tmp_path_factory.mktemp("home")))


def test_the_graph_is_the_one_that_was_reviewed(defs: dg.Definitions, snapshot: SnapshotAssertion) -> None:
    graph = defs.resolve_asset_graph()
    found = {}
    for key in sorted(graph.get_all_asset_keys()):
        node = graph.get(key)
        found[key.to_user_string()] = {
            "after": sorted(parent.to_user_string() for parent in node.parent_keys),
            "group": node.group_name,
            "kinds": sorted(node.kinds),
            "owners": sorted(node.owners),
            "partitions": node.partitions_def.schedule_type.value.lower() if node.partitions_def else None,
            "checks": sorted(check.name for check in node.check_keys),
            "in one run": bool(node.backfill_policy and node.backfill_policy.policy_type.value == "SINGLE_RUN"),
        }
    assert found == snapshot


def test_the_jobs_schedules_and_sensors_are_those_that_were_reviewed(
    defs: dg.Definitions, snapshot: SnapshotAssertion
) -> None:
    repository = defs.get_repository_def()
    assert {
        "jobs": sorted(job.name for job in repository.get_all_jobs() if not job.name.startswith("__")),
        "schedules": {
            entry.name: (entry.cron_schedule, entry.default_status.value) for entry in repository.schedule_defs
        },
        "sensors": {
            entry.name: (entry.minimum_interval_seconds, entry.default_status.value) for entry in repository.sensor_defs
        },
    } == snapshot


def test_every_asset_says_what_it_is_who_owns_it_and_what_is_in_it(defs: dg.Definitions) -> None:
    silent = []
    for spec in defs.resolve_all_asset_specs():
        columns = spec.metadata.get("dagster/column_schema")
        has_columns = (
            bool(columns) or spec.group_name in ("kafka", "reactions") or spec.key.path[-1] == "published_marts"
        )
        if not (spec.description and len(spec.description) > 30 and spec.owners and spec.kinds and has_columns):
            silent.append(spec.key.to_user_string())
    assert silent == []


def test_every_check_says_what_it_proves(defs: dg.Definitions) -> None:
    graph = defs.resolve_asset_graph()
    own = [graph.get_check_spec(key) for key in graph.asset_check_keys]
    assert [spec.name for spec in own if not spec.description and not (spec.metadata or {})] == []


def test_reading_the_definitions_loads_no_engine(tmp_path: Path) -> None:
    settings = load_settings(env_file=None, retail_home=tmp_path / "home")
    code = (
        f"import retail_platform.definitions, sys, json; print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=child_environment(settings),
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout.strip().splitlines()[-1]) == []
