"""What the dbt project asks of whoever runs it: its place and environment. Running it is the caller's."""

from __future__ import annotations

import contextlib
import csv
import datetime as dt
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path

from retail_platform.errors import RetailError
from retail_platform.settings import FX_RATES, PROJECT_ROOT, Settings
from retail_platform.warehouse import sql
from retail_platform.warehouse.protocol import Warehouse
from retail_platform.warehouse.snowflake_session import STATEMENT_SECONDS

DBT_PROJECT = PROJECT_ROOT / "dbt_project"

#: Every mart: a model of ``models/marts``, or a snapshot.
MARTS = tuple(
    sorted(path.stem for folder in ("models/marts", "snapshots") for path in (DBT_PROJECT / folder).glob("*.sql"))
)
_FAULTY = ("error", "fail")
_SOURCES = (".sql", ".yml", ".csv")


def dbt_environment(settings: Settings) -> dict[str, str]:
    """The environment variables that ``profiles.yml`` reads, for the warehouse of the settings."""
    if settings.warehouse == "duckdb":
        return {"RETAIL_WAREHOUSE_PATH": str(settings.warehouse_path)}
    # What came from .env is not in the environment of the dbt that is started.
    password, key, passphrase = (
        None if secret is None else secret.get_secret_value()
        for secret in (
            settings.snowflake_password,
            settings.snowflake_private_key,
            settings.snowflake_private_key_passphrase,
        )
    )
    given = {
        "SNOWFLAKE_ACCOUNT": settings.snowflake_account,
        "SNOWFLAKE_USER": settings.snowflake_user,
        "SNOWFLAKE_PASSWORD": password,
        "SNOWFLAKE_PRIVATE_KEY_PATH": settings.snowflake_private_key_path,
        "SNOWFLAKE_PRIVATE_KEY": key,
        "SNOWFLAKE_PRIVATE_KEY_PASSPHRASE": passphrase,
        "SNOWFLAKE_DATABASE": settings.snowflake_database,
        "SNOWFLAKE_WAREHOUSE": settings.snowflake_warehouse,
        "SNOWFLAKE_ROLE": settings.snowflake_role,
        "SNOWFLAKE_HOST": settings.snowflake_host,
        "SNOWFLAKE_PORT": settings.snowflake_port,
        "SNOWFLAKE_PROTOCOL": settings.snowflake_protocol,
        "RETAIL_STATEMENT_SECONDS": STATEMENT_SECONDS,
    }
    return {name: str(value) for name, value in given.items() if value is not None}


def query_tag(run_id: str, dates: Sequence[dt.date]) -> dict[str, str]:
    """The environment that tags a build's statements in Snowflake's query history: JSON, as a load's are."""
    return {"RETAIL_QUERY_TAG": sql.query_tag("build", dates, run=run_id)}


def window(dates: Sequence[dt.date]) -> dict[str, str]:
    """The environment that limits the daily marts to the days from the first of ``dates`` to the last: half open."""
    return {
        "RETAIL_START_DATE": min(dates).isoformat(),
        "RETAIL_END_DATE": (max(dates) + dt.timedelta(days=1)).isoformat(),
    }


@contextlib.contextmanager
def exported(variables: Mapping[str, str]) -> Iterator[None]:
    """``variables`` in this process's environment, for what the block runs or starts; then it is as it was."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def dbt_manifest(settings: Settings) -> Path:
    """``manifest.json`` of the project as it is now: parsed once, then kept until a file of the project changes.

    Raises:
        RetailError: dbt cannot parse the project; its own words are in the message.
    """
    target = settings.retail_home / "dbt"
    target.mkdir(parents=True, exist_ok=True)
    stamp, found = target / "project.sha256", target / "manifest.json"
    with (target / "parse.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the webserver, the daemon and the runs all come here at once
        digest = _project_digest(settings)
        if not found.exists() or not stamp.exists() or stamp.read_text() != digest:
            _parse(settings, target)
            dbt_target(settings).mkdir(exist_ok=True)
            # What it has parsed: the first build need not do it again.
            shutil.copy(target / "partial_parse.msgpack", dbt_target(settings))
            stamp.write_text(digest)
    return found


def dbt_target(settings: Settings) -> Path:
    """Where dbt writes when it builds: apart from the manifest, which others read meanwhile."""
    return settings.retail_home / "dbt" / "target"


def faults(target: Path) -> list[str]:
    """The nodes (models, tests, …) that dbt's last command in ``target`` could not build or that failed, by unique_id."""
    results = json.loads((target / "run_results.json").read_text(encoding="utf-8"))["results"]
    return [entry["unique_id"] for entry in results if entry["status"] in _FAULTY]


def _project_digest(settings: Settings) -> str:
    digest = hashlib.sha256(settings.warehouse.encode())
    for path in sorted(DBT_PROJECT.rglob("*")):
        inside = path.relative_to(DBT_PROJECT)
        if path.suffix in _SOURCES and inside.parts[0] not in ("target", "logs"):
            digest.update(str(inside).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _parse(settings: Settings, target: Path) -> None:
    command = [sys.executable, "-m", "dbt.cli.main", "--no-use-colors", "parse", "--project-dir", str(DBT_PROJECT)]
    command += ["--profiles-dir", str(DBT_PROJECT), "--target", settings.warehouse]
    command += ["--target-path", str(target), "--log-path", str(settings.logs_dir)]
    done = subprocess.run(
        command, env={**os.environ, **dbt_environment(settings)}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RetailError(f"dbt cannot parse {DBT_PROJECT}: {' '.join(done.stdout.split())[-600:]}")


def fx_rates_loaded(warehouse: Warehouse) -> bool:
    """Whether the warehouse has the exchange rates of the seed file, all of them and no others."""
    # Each engine has its own case for names that nobody quoted.
    named = "lower(table_schema) = 'seeds' and lower(table_name) = 'fx_rates'"
    exists = f"select 1 from information_schema.tables where {named}"
    if warehouse.query(exists).num_rows == 0:
        return False
    rows = warehouse.query("select currency, valid_from, usd_per_unit from seeds.fx_rates").to_pylist()
    with FX_RATES.open(newline="") as file:
        wanted = {(row["currency"], row["valid_from"], Decimal(row["usd_per_unit"])) for row in csv.DictReader(file)}
    return wanted == {(row["currency"], row["valid_from"].isoformat(), row["usd_per_unit"]) for row in rows}
