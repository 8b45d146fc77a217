"""The suppliers' terms of products, and what is aimed at: a CSV file, read when the application starts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from retail_platform.errors import SettingsError
from retail_platform.reactions.by_product import read_file, read_rows
from retail_platform.reactions.stock.reorder import DEFAULT, Parameters
from retail_platform.settings import Settings

_UNITS = ("case_pack", "minimum_order", "maximum_order")
_COLUMNS = (
    "product_id",
    "lead_time_days",
    "lead_time_deviation_days",
    "order_cost_usd",
    "holding_cost_usd",
    "case_pack",
    "minimum_order",
    "maximum_order",
    "service_level",
)


def read_terms(lines: Iterable[str], name: str, policy: Parameters) -> dict[str, Parameters]:
    """The policy of each product of the CSV file ``name``, its header included; what is empty is as in ``policy``.

    Columns: product_id; lead_time_days and lead_time_deviation_days; order_cost_usd of an order and holding_cost_usd of a
    unit for a year; case_pack, minimum_order and maximum_order in units; service_level, a share below 1. A request stays open
    for the lead time and three and a half deviations, in whole days.

    Raises:
        SettingsError: a column is missing, a product is there twice, a value is not of its kind, or no order could meet
            the terms; it names the line.
    """

    def parse(row: dict[str, str]) -> Parameters:
        given: dict[str, Any] = {column: _value(row, column) for column in _COLUMNS[1:] if row[column]}
        try:
            terms = replace(policy, **given)
        except SettingsError as error:
            raise ValueError(str(error)) from error
        days = terms.lead_time_days + 3.5 * terms.lead_time_deviation_days
        return replace(terms, open_days=max(1, math.ceil(days)))

    return read_rows(lines, name, _COLUMNS, parse)


def policies(settings: Settings) -> Callable[[str], Parameters]:
    """The policy by which a product is reordered: the usual one, or with terms of its own.

    Raises:
        SettingsError: REORDER_TERMS_FILE cannot be read.
    """
    usual = replace(DEFAULT, enabled=settings.reorders == "on", timezone=settings.business_timezone)
    if settings.reorder_terms_file is None:
        return lambda _product: usual
    own = read_file(
        settings.reorder_terms_file, "REORDER_TERMS_FILE", lambda lines, name: read_terms(lines, name, usual)
    )
    return lambda product: own.get(product, usual)


def _value(row: dict[str, str], column: str) -> float | int:
    try:
        value = int(row[column]) if column in _UNITS else float(row[column])
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0 or (value == 0 and column != "lead_time_deviation_days"):
        kind = "a whole number" if column in _UNITS else "a number"
        raise ValueError(f"{column} must be {kind} above 0, e.g. {_EXAMPLES[column]}")
    return value


_EXAMPLES = {
    "lead_time_days": "7",
    "lead_time_deviation_days": "2",
    "order_cost_usd": "50",
    "holding_cost_usd": "2.50",
    "case_pack": "12",
    "minimum_order": "24",
    "maximum_order": "10000",
    "service_level": "0.95",
}
