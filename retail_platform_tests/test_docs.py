"""What the repository says about itself is true: generated files are current, links lead somewhere, commands exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import dagster as dg
import pytest
import typer.main

from retail_platform.cli import docs as docs_command
from retail_platform.cli.app import app
from retail_platform.defs import build_defs, picture
from retail_platform.settings import PROJECT_ROOT, Settings, load_settings

PAGES = (PROJECT_ROOT / "README.md", *sorted((PROJECT_ROOT / "docs").rglob("*.md")))
MAKEFILE = PROJECT_ROOT / "Makefile"
DBT_GENERIC_TESTS = ("unique_", "not_null_", "accepted_values_", "relationships_")


@pytest.fixture(scope="module")
def one_home(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings with a home where dbt's project is parsed once for all tests here."""
    home = tmp_path_factory.mktemp("docs")
    return load_settings(env_file=None, retail_home=home, retail_outputs=home / "outputs")


def test_the_generated_files_are_what_retail_docs_writes(one_home: Settings) -> None:
    stale = [
        str(path.relative_to(PROJECT_ROOT))
        for path, text in docs_command.generated(one_home).items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    assert stale == [], "run `retail docs` and commit what it writes"


def test_the_picture_has_every_asset_and_every_dependency() -> None:
    specs = [
        dg.AssetSpec(["kafka", "sales"]),
        dg.AssetSpec(["bronze", "events"], deps=[["kafka", "sales"]]),
        dg.AssetSpec(["silver", "lines"], deps=[["bronze", "events"]]),
        dg.AssetSpec(["silver", "minutes"], deps=[["silver", "lines"]]),
        dg.AssetSpec(["kpi", "daily"], deps=[["silver", "lines"]]),
    ]
    drawn = picture.render(dg.Definitions(assets=specs))
    assert re.findall(r"<title>(\w+/\w+)</title>", drawn) == [
        "kafka/sales",
        "bronze/events",
        "silver/lines",
        "silver/minutes",
        "kpi/daily",
    ]
    assert drawn.count("marker-end") == sum(len(list(spec.deps)) for spec in specs)


def test_an_asset_of_an_unknown_layer_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="gold/sales: gold is not a layer"):
        picture.render(dg.Definitions(assets=[dg.AssetSpec(["gold", "sales"])]))


def test_the_settings_page_marks_every_secret() -> None:
    lines = {line.split("`")[1]: line for line in docs_command.settings_page().splitlines() if line.startswith("| `")}
    assert set(lines) == {name.upper() for name in Settings.model_fields}
    secret = {name for name, line in lines.items() if "Secret" in line}
    alerts = {"ALERT_WEBHOOK_URL", "ALERT_SLACK_WEBHOOK_URL", "ALERT_PAGERDUTY_ROUTING_KEY"}
    snowflake = {"SNOWFLAKE_PASSWORD", "SNOWFLAKE_PRIVATE_KEY", "SNOWFLAKE_PRIVATE_KEY_PASSPHRASE"}
    others = {"KAFKA_SASL_PASSWORD", "DAGSTER_POSTGRES_PASSWORD"} | snowflake
    assert secret == others | {"AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"} | alerts


def test_the_runbook_names_every_job_sensor_schedule_and_check(one_home: Settings) -> None:
    definitions = build_defs(one_home)
    repository = definitions.get_repository_def()
    names = {entry.name for entry in (*repository.schedule_defs, *repository.sensor_defs)}
    names |= {job.name for job in repository.get_all_jobs() if not job.name.startswith("__")}
    checks = {key.name for node in definitions.resolve_asset_graph().asset_nodes for key in node.check_keys}
    names |= {name for name in checks if name == "unique_key" or not name.startswith(DBT_GENERIC_TESTS)}
    assert len(names) > 10
    runbook = (PROJECT_ROOT / "docs" / "operate.md").read_text(encoding="utf-8")
    assert [name for name in sorted(names) if f"`{name}`" not in runbook] == []


def commands(page: Path) -> list[str]:
    """Every ``retail …`` that the page tells its reader to type, in code blocks and between backticks."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"```\w*\n(.*?)```", text, re.DOTALL)
    typed = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    typed += re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    return [line.removeprefix(".venv/bin/") for line in typed if re.match(r"(\.venv/bin/)?retail ", line)]


def complaint(line: str) -> str | None:
    """Why the command line cannot be typed as it stands; ``None`` when it can."""
    command = typer.main.get_command(app)
    words = shlex.split(line)[1:]
    while words and (group := getattr(command, "commands", None)):
        name = words.pop(0)
        if name not in group:
            return f"{line}: there is no {name}"
        command = group[name]
    known = {option for entry in command.params for option in entry.opts} | {"--help"}
    unknown = [word for word in words if word.startswith("--") and word not in known]
    return f"{line}: {', '.join(unknown)}" if unknown else None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT_ROOT)))
def test_every_retail_command_that_a_page_names_exists_with_its_options(page: Path) -> None:
    assert [wrong for line in commands(page) if (wrong := complaint(line))] == []


def test_the_readme_shows_how_to_use_the_command_line() -> None:
    assert len(commands(PROJECT_ROOT / "README.md")) > 10


def test_a_command_or_option_that_does_not_exist_is_found() -> None:
    assert complaint("retail fly --high") == "retail fly --high: there is no fly"
    assert complaint("retail kafka begin") == "retail kafka begin: there is no begin"
    assert complaint("retail kpis --high") == "retail kpis --high: --high"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT_ROOT)))
def test_every_link_and_every_path_of_a_page_leads_to_a_file(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = [target for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text) if "://" not in target]
    paths = re.findall(r"`((?:retail_platform|dbt_project|docs|retail_platform_tests)/[\w./-]+)`", text)
    missing = [target for target in links if not (page.parent / target).exists()]
    missing += [path for path in paths if not (PROJECT_ROOT / path).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT_ROOT)))
def test_every_make_target_that_a_page_names_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", MAKEFILE.read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"^make ([a-z]+)|`make ([a-z]+)", page.read_text(encoding="utf-8"), re.MULTILINE))
    assert {first or second for first, second in named} <= targets
