"""A lake that is older than its contract: optional columns are added when it is opened, a required one is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from retail_platform.contracts import QUARANTINE_EVENTS, TRANSACTIONS
from retail_platform.errors import RetailError
from retail_platform.lakehouse import quality
from retail_platform.lakehouse.delta import Batch, open_table
from retail_platform.lakehouse.manifest import manifest
from retail_platform.lakehouse.reading import rows_of
from retail_platform.settings import Settings
from retail_platform_tests.warehouse.silver import without

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

LINES = TRANSACTIONS.silver_table
OPTIONAL = "region"


def test_an_optional_column_is_added_and_null_in_the_rows_that_are_there(
    spark: SparkSession, lake_settings: Settings
) -> None:
    older = open_table(spark, lake_settings, without(LINES, OPTIONAL))
    older.append(_row(spark, without(LINES, OPTIONAL).column_names), Batch("query", 0))
    assert quality.contract_differences(lake_settings, LINES) == ["region is missing"]
    opened = open_table(spark, lake_settings, LINES)
    assert quality.contract_differences(lake_settings, LINES) == []
    assert opened.has(Batch("query", 0))
    assert rows_of(manifest(lake_settings, LINES), "select region from t") == [(None,)]
    opened.append(_row(spark, LINES.column_names), Batch("query", 1))
    assert sorted(row[OPTIONAL] or "" for row in opened.read().collect()) == ["", OPTIONAL]
    assert rows_of(manifest(lake_settings, LINES), "select count(*), count(region), max(region) from t") == [
        (2, 1, OPTIONAL)
    ]
    version = manifest(lake_settings, LINES).version
    open_table(spark, lake_settings, LINES)
    assert manifest(lake_settings, LINES).version == version


def test_a_required_column_is_refused_with_what_to_do(spark: SparkSession, lake_settings: Settings) -> None:
    open_table(spark, lake_settings, without(QUARANTINE_EVENTS, "reasons"))
    columns = (replace(column, nullable=False) for column in QUARANTINE_EVENTS.columns)
    with pytest.raises(
        RetailError, match=r"has no column reasons, which its contract requires.*make the field optional"
    ):
        open_table(spark, lake_settings, replace(QUARANTINE_EVENTS, columns=tuple(columns)))


def _row(spark: SparkSession, names: tuple[str, ...]) -> DataFrame:
    """One row of silver; its texts are the names of their columns."""
    texts = {column.name for column in LINES.columns if column.type.spark == "string"}
    values = {column.name: f"'{column.name}'" if column.name in texts else "1" for column in LINES.columns}
    values |= {column.name: "current_timestamp()" for column in LINES.columns if column.type.spark == "timestamp"}
    values |= {column.name: "current_date()" for column in LINES.columns if column.type.spark == "date"}
    kinds = {column.name: column.type.spark for column in LINES.columns}
    return spark.range(1).selectExpr(*(f"cast({values[name]} as {kinds[name]}) as `{name}`" for name in names))
