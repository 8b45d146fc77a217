"""The statements that bring a manifest's files into Snowflake, as text."""

from __future__ import annotations

import datetime as dt
import re

from hypothesis import given
from hypothesis import strategies as st

from retail_platform.contracts import INGEST_BATCHES
from retail_platform.lakehouse.manifest import Manifest
from retail_platform.warehouse.snowflake_files import MOST_FILES, copy_from_bucket
from retail_platform_tests.warehouse.silver import LINES

FOLDER = f"s3://bucket/retail/lake/{LINES.path}/"


def named(statement: str) -> list[str]:
    (files,) = re.findall(r" files = \((.*?)\) file_format", statement)
    return re.findall(r"'([^']+)'", files)


@given(st.dictionaries(st.dates(), st.integers(1, 2 * MOST_FILES + 1), max_size=3))
def test_each_file_is_copied_once_with_the_date_of_its_folder(counts: dict[dt.date, int]) -> None:
    names = [f"business_date={date}/part-{number}.parquet" for date, count in counts.items() for number in range(count)]
    manifest = Manifest(LINES, 0, None, tuple(FOLDER + name for name in names), None, 0)
    statements = list(copy_from_bucket(manifest, '"INTO"', "LAKE", FOLDER))
    assert [name for statement in statements for name in named(statement)] == names
    for statement in statements:
        (date,) = set(re.findall(r"date '([0-9-]+)'", statement))
        assert f" from @LAKE/{LINES.path}/) files = (" in statement
        assert all(f"business_date={date}/" in name for name in named(statement))
        assert len(named(statement)) <= MOST_FILES


def test_a_table_without_dates_is_one_copy_whose_dates_come_from_the_rows() -> None:
    folder = f"s3://bucket/retail/lake/{INGEST_BATCHES.path}/"
    manifest = Manifest(INGEST_BATCHES, 0, None, (folder + "a.parquet", folder + "b.parquet"), None, 0)
    (statement,) = copy_from_bucket(manifest, '"INTO"', "LAKE", folder)
    assert named(statement) == ["a.parquet", "b.parquet"]
    assert "date '" not in statement
