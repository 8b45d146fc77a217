"""Terms of products in a CSV file, one row a product: prices have such a file, and suppliers."""

from __future__ import annotations

import csv
import decimal
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from retail_platform.errors import SettingsError

T = TypeVar("T")


def read_rows(
    lines: Iterable[str], name: str, columns: Sequence[str], parse: Callable[[dict[str, str]], T]
) -> dict[str, T]:
    """What ``parse`` makes of each row, by its ``product_id``, the first of the columns.

    Raises:
        SettingsError: a column is missing, a product is there twice, or ``parse`` raised ValueError; it names the line.
    """
    rows = csv.DictReader(lines)
    absent = [column for column in columns if column not in (rows.fieldnames or ())]
    if absent:
        raise SettingsError(f"{name}: the header lacks {', '.join(absent)}; it must be {','.join(columns)}")
    found: dict[str, T] = {}
    for row in rows:
        place = f"{name}, line {rows.line_num}"
        try:
            parsed = parse(row)
        except (ValueError, TypeError, decimal.InvalidOperation) as error:
            raise SettingsError(f"{place}: {error or 'not a row of this file'}; see docs/reactions.md") from error
        product = row["product_id"]
        if not product or product in found:
            raise SettingsError(f"{place}: product {product or '(none)'} must be named, and only once")
        found[product] = parsed
    return found


def read_file(path: Path, setting: str, read: Callable[[Iterable[str], str], dict[str, T]]) -> dict[str, T]:
    """What ``read`` makes of the lines of the file that ``setting`` names.

    Raises:
        SettingsError: it cannot be read, or ``read`` says so.
    """
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            return read(lines, str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{setting}={path} cannot be read ({error}); name a CSV file") from error
