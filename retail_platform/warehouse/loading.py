"""What a load is in every warehouse: the shape of a table's dates, and what counts as a difference. Pure."""

from __future__ import annotations

from retail_platform.contracts import Table
from retail_platform.errors import RetailError
from retail_platform.lakehouse.manifest import BUSINESS_DATE, Manifest
from retail_platform.warehouse.protocol import Difference, LoadedDate


def by_partition(table: Table) -> bool:
    """Whether a row belongs to one business date; otherwise it lists those it touched in ``business_dates``."""
    return BUSINESS_DATE in table.partition_by


def differences(table: Table, silver: LoadedDate, here: LoadedDate) -> list[Difference]:
    """Each figure in which ``here`` is not what ``silver`` says; empty when all are equal."""
    pairs: list[tuple[str, object, object]] = [("rows", silver.rows, here.rows)]
    pairs += [(f"sum of {name}", value, here.sums[name]) for name, value in silver.sums.items()]
    return [
        Difference(table.path, silver.business_date, what, str(expected), str(found))
        for what, expected, found in pairs
        if expected != found
    ]


def repeated_keys_error(manifest: Manifest, repeated: int) -> RetailError:
    """The error of a version that holds ``repeated`` keys twice: merging it would let one of two win by chance."""
    table = manifest.table
    return RetailError(
        f"{table.path} version {manifest.version} holds {repeated} keys ({', '.join(table.key)}) more than once; "
        "derive the day again from bronze (materialize its silver partition), then load it"
    )
