"""Which warehouse the settings ask for."""

from __future__ import annotations

from retail_platform.settings import Settings
from retail_platform.warehouse.duckdb import DuckDBWarehouse
from retail_platform.warehouse.protocol import Warehouse
from retail_platform.warehouse.snowflake import SnowflakeWarehouse


def open_warehouse(settings: Settings) -> Warehouse:
    """The warehouse of ``WAREHOUSE``. It holds no connection between calls, and creates nothing before it loads."""
    return SnowflakeWarehouse(settings) if settings.warehouse == "snowflake" else DuckDBWarehouse(settings)
