"""What the catalogue says of each product that may have a price: a CSV file, read when the application starts."""

from __future__ import annotations

import datetime as dt
import decimal
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from retail_platform.reactions.by_product import read_rows
from retail_platform.reactions.prices.rule import USUAL_ELASTICITY, Terms

_COLUMNS = (
    "product_id",
    "unit_cost",
    "list_price",
    "minimum_advertised_price",
    "ceiling",
    "sell_by",
    "category_elasticity",
    "applies",
)


@dataclass(frozen=True, slots=True)
class Listed:
    """A product's terms; ``applies``: whether a decision may set its price where ``PRICES=apply``."""

    terms: Terms
    applies: bool


def read_terms(lines: Iterable[str], name: str) -> dict[str, Listed]:
    """The terms by product_id of the CSV file ``name``, its header included.

    Columns: product_id; unit_cost, list_price, minimum_advertised_price, ceiling in US dollars; sell_by, a date;
    category_elasticity; applies, yes or no. The four from minimum_advertised_price to category_elasticity may be empty.

    Raises:
        SettingsError: a column is missing, a product is there twice, or a value is not of its kind; it names the line.
    """
    return read_rows(lines, name, _COLUMNS, _listed)


def _listed(row: dict[str, str]) -> Listed:
    cost, price = _money(row, "unit_cost"), _money(row, "list_price")
    if cost is None or price is None:
        raise ValueError("unit_cost and list_price must be given")
    if row["applies"] not in ("yes", "no"):
        raise ValueError("applies must be yes or no")
    elasticity = float(row["category_elasticity"] or USUAL_ELASTICITY)
    if not -100 <= elasticity < 0:  # noqa: PLR2004  beyond it a price is not what sells the product
        raise ValueError("category_elasticity must be below 0 and at least -100")
    terms = Terms(
        unit_cost=cost,
        list_price=price,
        minimum_advertised_price=_money(row, "minimum_advertised_price"),
        ceiling=_money(row, "ceiling"),
        sell_by=dt.date.fromisoformat(row["sell_by"]) if row["sell_by"] else None,
        category_elasticity=elasticity,
    )
    return Listed(terms, row["applies"] == "yes")


def _money(row: dict[str, str], column: str) -> Decimal | None:
    if not row[column]:
        return None
    try:
        amount = Decimal(row[column])
    except decimal.InvalidOperation:
        amount = Decimal("NaN")
    if not (amount.is_finite() and amount > 0):
        raise ValueError(f"{column} must be an amount above 0, e.g. 4.95")
    return amount
