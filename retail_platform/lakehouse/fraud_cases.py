"""What the lake knows of suspected fraud: the purchases that were alerted, and the verdicts on them.

A case is a purchase with a card. Verdicts follow each other in the order of the labels topic, and the last one holds. What a
rule is, and whether it may act, is not known here.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from retail_platform.contracts import FRAUD_ALERTS, FRAUD_LABELS, TRANSACTIONS
from retail_platform.lakehouse.manifest import manifest
from retail_platform.lakehouse.reading import rows_over
from retail_platform.settings import Settings

_PURCHASES = """
    select event_id, cast(event_time as timestamp) as event_time, store_id, register_id, business_date
    from transaction_lines
    where line_number = 1 and event_type = 'sale' and card_token is not null
"""
_VERDICTS = """
    select transaction_event_id, verdict from fraud_labels
    qualify row_number() over (
        partition by transaction_event_id order by append_time desc, "partition" desc, "offset" desc
    ) = 1
"""


@dataclass(frozen=True, slots=True)
class Case:
    """A purchase that may be judged: its event_id, when the customer paid (UTC), its store, and its till where it has one."""

    transaction_event_id: str
    business_date: dt.date
    transaction_time: dt.datetime
    store_id: str
    register_id: str | None


@dataclass(frozen=True, slots=True)
class Hit:
    """A rule that hit a purchase, once however often; ``verdict``: the last on the purchase, ``None`` without one."""

    rule: str
    transaction_event_id: str
    verdict: Literal["confirmed", "dismissed"] | None


def cases(settings: Settings, ids: Sequence[str]) -> dict[str, Case]:
    """The cases that these ids name, by id: the event_id of an alert, or of the purchase; the unknown ones are left out.

    Where all of them name alerts, only the purchases of those alerts' days are looked through.

    Raises:
        RetailError: the lake has no such tables yet.
    """
    asked = sorted({one.lower() for one in ids})
    alerted = _query(settings, "select business_date from fraud_alerts where event_id in (select unnest(?))", [asked])
    found = _query(
        settings,
        f"""
        with asked as (select distinct unnest(cast(? as varchar[])) as id), purchases as ({_PURCHASES}), named as (
            select asked.id, alerts.business_date, alerts.event_time, alerts.store_id,
                coalesce(alerts.transaction_event_id, asked.id) as event_id, alerts.event_id is not null as alerted
            from asked left join fraud_alerts as alerts on alerts.event_id = asked.id
        )
        select id, event_id, coalesce(purchases.business_date, named.business_date),
            coalesce(purchases.event_time, cast(named.event_time as timestamp)),
            coalesce(purchases.store_id, named.store_id), purchases.register_id
        from named left join purchases using (event_id)
        where alerted or purchases.event_id is not null
        """,
        [asked],
        dates={date for (date,) in alerted} if len(alerted) == len(asked) else None,
    )
    by_id = {id_: _case(*row) for id_, *row in found}
    return {id_: by_id[id_.lower()] for id_ in ids if id_.lower() in by_id}


def open_cases(settings: Settings, dates: Collection[dt.date]) -> list[Case]:
    """The cases of these business dates that have an alert and no verdict, oldest first.

    Raises:
        RetailError: the lake has no such tables yet.
    """
    found = _query(
        settings,
        f"""
        with purchases as ({_PURCHASES}), alerted as (
            select distinct
                transaction_event_id as event_id, business_date, cast(event_time as timestamp) as event_time, store_id
            from fraud_alerts where business_date in (select unnest(cast(? as date[])))
        )
        select event_id, alerted.business_date, alerted.event_time, alerted.store_id, purchases.register_id
        from alerted left join purchases using (event_id)
        where event_id not in (select transaction_event_id from fraud_labels)
        order by alerted.event_time, event_id
        """,
        [list(dates)],
        dates=dates,
    )
    return [_case(*row) for row in found]


def hits(settings: Settings, first: dt.date | None = None, last: dt.date | None = None) -> list[Hit]:
    """The hits on purchases of these business dates, both included; without bounds all.

    Raises:
        RetailError: the lake has no such tables yet.
    """
    found = _query(
        settings,
        f"""
        with verdicts as ({_VERDICTS})
        select distinct rule, transaction_event_id, verdict
        from fraud_alerts left join verdicts using (transaction_event_id)
        where business_date between ? and ?
        order by all
        """,
        _bounds(first, last),
    )
    return [Hit(*row) for row in found]


def card_purchases(settings: Settings, first: dt.date | None = None, last: dt.date | None = None) -> int:
    """How many purchases with a card there were on these business dates, as :func:`hits` has them.

    Raises:
        RetailError: the lake has no such table yet.
    """
    sql = f"select count(*) from ({_PURCHASES}) where business_date between ? and ?"
    return int(_query(settings, sql, _bounds(first, last))[0][0])


def _bounds(first: dt.date | None, last: dt.date | None) -> list[dt.date]:
    return [first or dt.date.min, last or dt.date.max]


def _case(event_id: str, date: dt.date, event_time: dt.datetime, store_id: str, register_id: str | None) -> Case:
    return Case(event_id, date, event_time.replace(tzinfo=dt.UTC), store_id, register_id)


def _query(
    settings: Settings, sql: str, parameters: Sequence[Any] = (), dates: Collection[dt.date] | None = None
) -> list[tuple[Any, ...]]:
    """The rows of ``sql`` over the three tables; of purchases and alerts only those of ``dates``, where it names any."""
    days = None if dates is None else sorted(dates)
    lake = {
        TRANSACTIONS.silver_table: days,
        FRAUD_ALERTS.silver_table: days,
        FRAUD_LABELS.silver_table: None,  # a verdict comes on any later day
    }
    return rows_over({table.name: manifest(settings, table, of) for table, of in lake.items()}, sql, parameters)
