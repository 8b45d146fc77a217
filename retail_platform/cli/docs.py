"""``retail docs``, for developers: write again every file of the repository that is generated."""

from __future__ import annotations

import datetime as dt
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from pydantic import SecretStr

from retail_platform.cli.app import app, out
from retail_platform.settings import PROJECT_ROOT, Settings, env_example, get_settings, load_settings

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

DOCS = PROJECT_ROOT / "docs"


@app.command(hidden=True)
def docs() -> None:
    """Write the generated files again: contract pages, settings, Kafka's access list, dbt sources, asset graph."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Dagster's notices about its beta features
        files = generated(get_settings())
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        changed = not path.exists() or path.read_text(encoding="utf-8") != text
        path.write_text(text, encoding="utf-8")
        out.print(f"{'written' if changed else 'as it was'}  {path.relative_to(PROJECT_ROOT)}")


def generated(settings: Settings) -> dict[Path, str]:
    """Every generated file of the repository with its text. Of ``settings`` only the paths have a say."""
    from retail_platform.access import access_page
    from retail_platform.contracts import ALL_TABLES, REACTION_TOPICS, TOPICS, WAREHOUSE_TABLES
    from retail_platform.contracts.pages import contract_page, tables_page
    from retail_platform.kafka import topic_config
    from retail_platform.warehouse.dbt_sources import SOURCES_FILE, render_sources

    pages = {
        DOCS / "contracts" / f"{contract.topic}.md": contract_page(contract, topic_config(contract))
        for contract in (*TOPICS, *REACTION_TOPICS)
    }
    return {
        **pages,
        DOCS / "contracts" / "tables.md": tables_page(ALL_TABLES, WAREHOUSE_TABLES),
        DOCS / "settings.md": settings_page(),
        DOCS / "operate" / "kafka-access.md": access_page(load_settings(env_file=None)),
        PROJECT_ROOT / ".env.example": env_example(),
        DOCS / "architecture.svg": _picture(settings),
        SOURCES_FILE: render_sources(),
    }


def settings_page() -> str:
    """The page of all settings: name, default, meaning, from their declarations."""
    from retail_platform.contracts.pages import GENERATED, markdown_table

    rows = [
        (f"`{name.upper()}`", _default(entry), _values(entry), f"{entry.description}{_secret(entry)}")
        for name, entry in Settings.model_fields.items()
    ]
    about = (
        "Set in the environment, or in `.env` at the root of the repository; the environment wins. An empty value is "
        "as good as none. A wrong value ends the command with one line that names the setting. Relative paths start "
        "at the root of the repository.\n\n"
        "The `SNOWFLAKE_…` settings are looked at when `WAREHOUSE=snowflake`: [what was run against "
        "what](operate/snowflake.md). The `AWS_…` "
        "settings are looked at when `S3_BUCKET` is set: [the lake in a bucket](operate/s3.md)."
    )
    table = markdown_table(("setting", "default", "values", "meaning"), rows)
    return f"# Settings\n\n{GENERATED}\n\n{about}\n\n{table}\n"


def _default(entry: FieldInfo) -> str:
    return "" if entry.default is None else f"`{_text(entry.default)}`"


def _text(value: Any) -> str:
    return value.isoformat() if isinstance(value, dt.date) else f"{value:g}" if isinstance(value, float) else str(value)


def _values(entry: FieldInfo) -> str:
    """What the setting may be, where that is a closed list or bounded."""
    choices = [value for value in get_args(entry.annotation) if isinstance(value, str)]
    if choices:
        return ", ".join(f"`{value}`" for value in choices)
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    bounds = [
        f"{sign} {_text(getattr(limit, name))}"
        for name, sign in signs.items()
        for limit in entry.metadata
        if getattr(limit, name, None) is not None
    ]
    return ", ".join(bounds)


def _secret(entry: FieldInfo) -> str:
    is_secret = SecretStr in (entry.annotation, *get_args(entry.annotation))
    return " **Secret: never printed.**" if is_secret else ""


def _picture(settings: Settings) -> str:
    from retail_platform.contracts import TRANSACTIONS
    from retail_platform.defs import build_defs, picture

    # The picture is that of the platform as it comes, wherever it is drawn.
    return picture.render(build_defs(settings.model_copy(update={"kafka_topic": TRANSACTIONS.topic})))
