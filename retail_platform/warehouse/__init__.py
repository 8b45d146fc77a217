"""The warehouse: silver loaded into ``raw``, reconciled, and what is published from it.

One adapter an engine behind the protocol in ``protocol``; the transformations from ``raw`` to the marts are dbt's.
"""

from retail_platform.warehouse.factory import open_warehouse
from retail_platform.warehouse.protocol import Difference, LoadedDate, LoadResult, Warehouse

__all__ = ["Difference", "LoadResult", "LoadedDate", "Warehouse", "open_warehouse"]
