"""The same silver through DuckDB and Snowflake: both load it, dbt builds both, and every row of every mart is compared."""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import tempfile
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retail_platform.errors import RetailError
from retail_platform.lakehouse.manifest import Manifest, manifest
from retail_platform.settings import Settings
from retail_platform.warehouse.dbt import MARTS, exported, query_tag
from retail_platform.warehouse.duckdb import DuckDBWarehouse
from retail_platform.warehouse.kpi_file import daily_kpis
from retail_platform.warehouse.loading import tables_to_load
from retail_platform.warehouse.protocol import Warehouse
from retail_platform.warehouse.snowflake import SnowflakeWarehouse
from retail_platform.warehouse.snowflake_files import stage_path
from retail_platform.warehouse.snowflake_session import in_session
from retail_platform.warehouse.tie_out import tie_out

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Compared:
    """One thing that was compared: the rows that DuckDB has, how many differ, and one that does, as text."""

    what: str
    rows: int
    differences: int
    example: str = ""


def compare(settings: Settings, dates: Sequence[dt.date], say: Callable[[str], None]) -> list[Compared]:
    """Load ``dates`` of the lake into Snowflake and into a DuckDB file, build both twice, and compare.

    Both are made for it and removed at the end. The second build is the incremental one that every day's is. Besides the
    marts: the days' KPIs, and Snowflake's own reconciliation and tie-out with silver. ``say`` is told what goes on.

    Raises:
        RetailError: silver has nothing on these dates, the role may not create a database, or one of the two cannot be
            loaded or built.
    """
    manifests = [manifest(settings, table, dates) for table in tables_to_load(settings)]
    _refuse_nothing(manifests[0], dates)
    with _own_database(settings) as own, tempfile.TemporaryDirectory(prefix="retail-verify-") as name:
        folder = Path(name)
        snowflake = SnowflakeWarehouse(own)
        embedded = DuckDBWarehouse(settings.model_copy(update={"warehouse": "duckdb", "retail_home": folder}))
        for warehouse in (embedded, snowflake):
            say(f"{warehouse.settings.warehouse}: loading and building {dates[0]} to {dates[-1]} …")
            _build(warehouse, manifests, dates, folder)
        say("comparing …")
        found = [differences(mart, _rows(embedded, mart), _rows(snowflake, mart)) for mart in MARTS]
        found.append(differences("the KPI file", daily_kpis(embedded, dates), daily_kpis(snowflake, dates)))
        against_silver: dict[str, Sequence[object]] = {
            "reconciliation with silver": [
                entry for part in manifests for entry in snowflake.reconcile(part.table, dates)
            ],
            "tie-out with silver": tie_out(snowflake, own, dates),
        }
        for what, told in against_silver.items():
            found.append(Compared(what, len(dates), len(told), str(told[0]) if told else ""))
        return found


def differences(what: str, embedded: Iterable[Any], snowflake: Iterable[Any]) -> Compared:
    """How many rows the one has that the other has not; order does not matter, how often a row is there does."""
    left, right = Counter(embedded), Counter(snowflake)
    sides = (("DuckDB", left - right), ("Snowflake", right - left))
    examples = [f"only {name} has {min(map(str, rows))}" for name, rows in sides if rows]
    return Compared(what, left.total(), sum(rows.total() for _, rows in sides), "; ".join(examples)[:500])


@contextlib.contextmanager
def _own_database(settings: Settings) -> Iterator[Settings]:
    """``settings`` with a new Snowflake database, which is dropped at the end of the block, whatever happens in it.

    Raises:
        RetailError: the role may not create one.
    """
    name = f"RETAIL_VERIFY_{uuid.uuid4().hex[:8].upper()}"
    mend = (
        f"creating a database needs `grant create database on account to role {settings.snowflake_role}`; revoke it "
        "afterwards"
    )
    in_session(settings, lambda session: session.run(f"create transient database {name}", mend=mend), "verify")
    # The stage stays where it is.
    stage = ".".join(stage_path(settings)) if settings.snowflake_stage else None
    own = settings.model_copy(update={"snowflake_database": name, "snowflake_stage": stage})
    mend = f"what was made for the comparison is left: `drop database {name}`"

    def drop() -> None:
        in_session(settings, lambda session: session.run(f"drop database {name}", mend=mend), "verify")

    try:
        yield own
    except BaseException:
        try:
            drop()
        except RetailError as left:  # what went wrong before matters more
            _log.warning("%s", left)
        raise
    drop()


def _refuse_nothing(lines: Manifest, dates: Sequence[dt.date]) -> None:
    if not lines.files:
        raise RetailError(
            f"{lines.table.path} has no rows from {dates[0]} to {dates[-1]}, so there is nothing to compare; choose days that "
            "it has with --from and --to, or bring the sample (`retail replay`, `retail stream drain`)"
        )


def _build(
    warehouse: DuckDBWarehouse | SnowflakeWarehouse,
    manifests: Sequence[Manifest],
    dates: Sequence[dt.date],
    folder: Path,
) -> None:
    from retail_platform.warehouse.dbt_run import DbtProject  # noqa: PLC0415  seconds

    settings = warehouse.settings
    for each in manifests:
        warehouse.load(each, "verify")
    warehouse.create_tables()
    project = DbtProject(folder / settings.warehouse)
    project.parse(settings)
    with exported(query_tag("verify", dates)):
        for _ in range(2):
            built, failed = project.run(settings, "build", dates, "--exclude", "test_type:unit")
            if not built:
                told = "; ".join(f"{name}: {' '.join(message.split())}" for name, message in failed.items())
                raise RetailError(f"dbt cannot build on {settings.warehouse}: {told[:600]}")


def _rows(warehouse: Warehouse, mart: str) -> Iterator[tuple[tuple[str, Any], ...]]:
    rows: list[Mapping[str, Any]] = warehouse.query(f"select * from marts.{mart}").to_pylist()
    return (tuple(sorted(row.items())) for row in rows)
