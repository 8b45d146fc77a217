"""How the files of a manifest come into a Snowflake table: the statements. Pure: a manifest in, text out.

A lake on this machine is PUT into a temporary stage; one in a bucket is read by Snowflake itself, through an external
stage on it. Either way a COPY takes the manifest's files and no others, a business date at a time: Delta keeps the date
in the path, not in the file.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from retail_platform.contracts import Table
from retail_platform.lakehouse.location import bucket_key
from retail_platform.lakehouse.manifest import BUSINESS_DATE, Manifest
from retail_platform.settings import Settings
from retail_platform.warehouse import sql

#: Most names that FILES of a COPY takes (Snowflake's reference of COPY INTO <table>).
MOST_FILES = 1000

_DATE_FOLDER = re.compile(rf"{BUSINESS_DATE}=(\d{{4}}-\d{{2}}-\d{{2}})/")
_FORMAT = "file_format = (type = parquet use_logical_type = true use_vectorized_scanner = true)"


def put_and_copy(manifest: Manifest, into: str, stage: str) -> Iterator[str]:
    """Send the files from this machine through ``stage``, a temporary one that the statements make."""
    yield f"create temporary stage {stage}"
    for date, paths in _by_date(manifest.table, manifest.files).items():
        folder = f"@{stage}/{date or 'all'}"
        for path in paths:
            yield f"put '{_literal(Path(path).as_uri())}' {folder} auto_compress = false"
        yield f"{_copy(manifest.table, into, folder, date)} {_FORMAT}"


def copy_from_bucket(manifest: Manifest, into: str, stage: str, folder: str) -> Iterator[str]:
    """Have Snowflake read the files itself; ``stage`` is on the lake, ``folder`` the table's within the bucket.

    A file that is named and is not there fails the COPY, whatever ON_ERROR says (the same reference).
    """
    for date, paths in _by_date(manifest.table, manifest.files).items():
        # The date's folder goes with the names: its "=" may stand in a literal, not in the path of a stage.
        names = [path.removeprefix(folder) for path in paths]
        for first in range(0, len(names), MOST_FILES):
            files = ", ".join(f"'{_literal(name)}'" for name in names[first : first + MOST_FILES])
            copy = _copy(manifest.table, into, f"@{stage}/{manifest.table.path}/", date)
            yield f"{copy} files = ({files}) {_FORMAT}"


def lake_url(settings: Settings) -> str:
    """What the stage on the bucket's lake has for its URL."""
    return f"s3://{settings.s3_bucket}/{bucket_key(settings, 'lake')}/"


def stage_path(settings: Settings) -> tuple[str, str, str]:
    """Database, schema and name of ``SNOWFLAKE_STAGE``, as they are found from anywhere."""
    parts = (settings.snowflake_stage or "").split(".")
    database, schema, name = [settings.snowflake_database, settings.snowflake_schema][: 3 - len(parts)] + parts
    return database, schema, name


def _by_date(table: Table, files: Sequence[str]) -> dict[str, list[str]]:
    """The files by the business date of their folder; under an empty one where the table is not partitioned."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for path in files:
        date = _DATE_FOLDER.search(path) if sql.by_partition(table) else None
        found[date[1] if date else ""].append(path)
    return found


def _copy(table: Table, into: str, folder: str, date: str) -> str:
    columns = ", ".join(sql.identifier(column.name, "snowflake") for column in table.columns)
    values = ", ".join(
        f"date '{date}'"
        if column.name == BUSINESS_DATE and date
        else f'$1:"{column.name}"::{sql.spelling(column.type, "snowflake")}'
        for column in table.columns
    )
    return f"copy into {into} ({columns}) from (select {values} from {folder})"


def _literal(text: str) -> str:
    return text.replace("'", "\\'")
