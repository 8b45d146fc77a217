"""Purchases with cards and the verdicts on them, out of the lake's silver tables, in order of time.

The stream has them in order of arrival. Where events come as they happen, that is the same order.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from retail_platform.contracts import FRAUD_LABELS, TRANSACTIONS
from retail_platform.lakehouse.manifest import manifest
from retail_platform.lakehouse.reading import rows_over
from retail_platform.reactions.fraud.features import cents
from retail_platform.reactions.fraud.labels import Label
from retail_platform.reactions.fraud.purchases import CardPurchase
from retail_platform.reactions.fraud.tills import TillPurchase
from retail_platform.reactions.metrics.rates import Rates
from retail_platform.settings import Settings

_PURCHASES = """
    select event_id, any_value(cast(event_time as timestamp)), any_value(transaction_id), any_value(store_id),
        any_value(register_id), any_value(card_token), any_value(currency), any_value(business_date), sum(net_amount)
    from transaction_lines
    where event_type = 'sale' and card_token is not null and business_date between ? and ?
    group by event_id
"""
_LABELS = """
    select event_id, cast(event_time as timestamp), transaction_event_id, cast(transaction_time as timestamp), store_id,
        verdict, register_id
    from fraud_labels
    order by append_time, "partition", "offset"
"""


@dataclass(frozen=True, slots=True)
class History:
    """``events``: purchases when they were made and verdicts when they were given, in order of time.

    ``frauds``: event_ids of the purchases that the last verdict, by arrival, confirms.
    """

    events: tuple[TillPurchase | Label, ...]
    frauds: frozenset[str]


def history(settings: Settings, rates: Rates, first: dt.date, last: dt.date) -> History:
    """The purchases of the business dates from ``first`` to ``last``, both included, and every verdict on any.

    A purchase in a currency without a rate is left out, as in the stream.

    Raises:
        RetailError: the lake has no such tables yet.
    """
    purchases = [
        purchase
        for row in _query(settings, _PURCHASES, [first, last])
        if (purchase := _purchase(rates, *row)) is not None
    ]
    labels = [_label(*row) for row in _query(settings, _LABELS)]
    verdicts = {label.transaction_event_id: label.verdict for label in labels}
    events: list[TillPurchase | Label] = [*purchases, *labels]
    events.sort(key=_moment)
    return History(
        tuple(events), frozenset(event_id for event_id, verdict in verdicts.items() if verdict == "confirmed")
    )


def _moment(event: TillPurchase | Label) -> tuple[dt.datetime, str]:
    one = event if isinstance(event, Label) else event.purchase
    return one.event_time, one.event_id


def _purchase(
    rates: Rates,
    event_id: str,
    event_time: dt.datetime,
    transaction_id: str,
    store_id: str,
    register_id: str | None,
    card_token: str,
    currency: str,
    business_date: dt.date,
    amount: Any,
) -> TillPurchase | None:
    rate = rates.on(currency, business_date)
    if rate is None:
        return None
    moment = event_time.replace(tzinfo=dt.UTC)
    purchase = CardPurchase(event_id, moment, transaction_id, card_token, store_id)
    return TillPurchase(purchase, register_id, cents(amount * rate))


def _label(
    event_id: str,
    event_time: dt.datetime,
    transaction_event_id: str,
    transaction_time: dt.datetime,
    store_id: str,
    verdict: Any,
    register_id: str | None,
) -> Label:
    given, paid = (moment.replace(tzinfo=dt.UTC) for moment in (event_time, transaction_time))
    return Label(event_id, given, transaction_event_id, paid, store_id, verdict, register_id)


def _query(settings: Settings, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    tables = (contract.silver_table for contract in (TRANSACTIONS, FRAUD_LABELS))
    return rows_over({table.name: manifest(settings, table) for table in tables}, sql, parameters)
