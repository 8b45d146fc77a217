"""The workflows: valid, with as few rights as they need, and running the commands that a developer runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from retail_platform.settings import PROJECT_ROOT

FOLDER = PROJECT_ROOT / ".github" / "workflows"
FILES = sorted(FOLDER.glob("*.yml"))


def load(path: Path) -> dict[str, Any]:
    """The workflow; YAML 1.1 reads its key ``on`` as true."""
    loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {("on" if key is True else key): value for key, value in loaded.items()}


def steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in load(path)["jobs"].values() for step in job.get("steps", [])]


def test_they_are_valid_by_githubs_schema() -> None:
    command = [
        Path(sys.executable).with_name("check-jsonschema"),
        "--builtin-schema",
        "vendor.github-workflows",
        *FILES,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert {path.stem for path in FILES} == {"ci", "release", "deploy"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_rights_are_read_only_unless_a_job_asks_and_time_is_limited(path: Path) -> None:
    workflow = load(path)
    assert workflow["permissions"] == {"contents": "read"}
    assert "concurrency" in workflow
    for name, job in workflow["jobs"].items():
        assert "uses" in job or job["timeout-minutes"] <= 90, name
        assert "write-all" not in str(job.get("permissions")), name


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_actions_are_pinned_by_a_full_version_and_keep_no_credentials(path: Path) -> None:
    for step in steps(path):
        action = step.get("uses")
        if action is not None:
            assert re.fullmatch(r"[\w./-]+@(v\d+\.\d+\.\d+|[0-9a-f]{40})", action), action
        if action is not None and action.startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_others_may_write_is_never_put_into_a_script(path: Path) -> None:
    scripts = [step["run"] for step in steps(path) if "run" in step]
    assert [script for script in scripts if "${{" in script] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_script_is_one_that_bash_can_read(path: Path) -> None:
    for script in [step["run"] for step in steps(path) if "run" in step]:
        done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_every_make_target_exists_and_ci_runs_lint_and_the_tests_on_every_supported_python() -> None:
    targets = set(re.findall(r"^([a-z]+):", (PROJECT_ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    ran = {
        found for path in FILES for step in steps(path) for found in re.findall(r"\bmake (\w+)", step.get("run", ""))
    }
    assert {"lint", "audit", "test", "terraform", "image", "wheel"} <= ran <= targets
    matrix = load(FOLDER / "ci.yml")["jobs"]["test"]["strategy"]["matrix"]["python"]
    declared = (PROJECT_ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'requires-python = ">=3.11,<3.14"' in declared
    assert matrix == ["3.11", "3.12", "3.13"]


def test_nothing_is_released_before_ci_and_nothing_is_applied_before_somebody_approves() -> None:
    release = load(FOLDER / "release.yml")["jobs"]
    assert all(job["needs"] == "ci" for name, job in release.items() if name != "ci")
    assert release["ci"]["uses"] == "./.github/workflows/ci.yml"
    deploy = load(FOLDER / "deploy.yml")
    assert set(deploy["on"]) == {"workflow_dispatch"}
    assert deploy["jobs"]["apply"]["environment"] == "production"
    assert deploy["jobs"]["apply"]["needs"] == "plan"
    assert deploy["concurrency"]["cancel-in-progress"] is False


def test_a_deployment_is_all_of_one_release_and_its_variables_are_in_the_plan_that_is_applied() -> None:
    jobs = load(FOLDER / "deploy.yml")["jobs"]
    for job in jobs.values():
        (checkout,) = [step for step in job["steps"] if step.get("uses", "").startswith("actions/checkout@")]
        assert checkout["with"]["ref"] == "refs/tags/${{ inputs.version }}"
    plan, apply = ([step.get("run", "") for step in jobs[name]["steps"]] for name in ("plan", "apply"))
    assert [script for script in plan if "terraform plan" in script and "terraform.tfvars" in script] == plan[-2:-1]
    assert not any("-var" in script or "tfvars" in script for script in apply)
    # What the tasks and the stream's jobs are started from is there before they are.
    order = [
        next(i for i, script in enumerate(apply) if word in script)
        for word in ("skopeo copy", "cluster package", "apply plan")
    ]
    assert order == sorted(order)
