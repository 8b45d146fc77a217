"""dbt's sources, generated from the contracts: the committed file and what is rendered here are the same, by a test.

``python -m retail_platform.warehouse.dbt_sources`` writes the file again after a contract has changed.
"""

from __future__ import annotations

from typing import Any

import yaml

from retail_platform.contracts import WAREHOUSE_TABLES, Table
from retail_platform.warehouse.dbt import DBT_PROJECT
from retail_platform.warehouse.sql import LOADS

SOURCES_FILE = DBT_PROJECT / "models" / "staging" / "_sources.yml"

_HEADING = "# Generated from retail_platform.contracts by `python -m retail_platform.warehouse.dbt_sources`.\n"


def render_sources() -> str:
    """The text of ``_sources.yml``: a source table a contract, and the ledger of the loads, with their columns."""
    source = {
        "name": "raw",
        "schema": "{{ env_var('RETAIL_RAW_SCHEMA', 'raw') }}",
        "description": "Silver, as it was last loaded from the lake.",
        "tables": [_table(table) for table in (*WAREHOUSE_TABLES, LOADS)],
    }
    return _HEADING + yaml.safe_dump(
        {"version": 2, "sources": [source]}, sort_keys=False, width=120, allow_unicode=True
    )


def _table(table: Table) -> dict[str, Any]:
    return {
        "name": table.name,
        "description": f"{table.description} A row is {table.grain}.",
        "columns": [
            {"name": column.name, "description": column.description, "data_type": column.type.dbt}
            for column in table.columns
        ],
    }


if __name__ == "__main__":
    SOURCES_FILE.write_text(render_sources(), encoding="utf-8")
