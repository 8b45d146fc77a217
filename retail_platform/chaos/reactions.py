"""What the reactions said, against what they had to say: each thing once, and that of a batch over what was acknowledged.

What follows from an order is recomputed by the same rules in the order that Kafka has (:mod:`recomputed`). What does not is
computed a second time without any of the platform's code, in SQL, from the bytes that the producer's ledger knows: each
stock from its last count, each live metric as a sum. And what is numbered has no gap.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from retail_platform.chaos.committed import committed_path
from retail_platform.chaos.days import Day, differences, orders_and_cents
from retail_platform.chaos.finding import Finding
from retail_platform.chaos.recomputed import STEPS, Recomputed
from retail_platform.contracts import (
    CUSTOMER_SEGMENTS,
    FRAUD_ALERTS,
    INVENTORY,
    PRICE_UPDATES,
    REACTION_TOPICS,
    REORDER_REQUESTS,
    STOCK_LEVELS,
)
from retail_platform.reactions.applications import step_topic
from retail_platform.settings import FX_RATES, Settings

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_ONCE = {
    FRAUD_ALERTS: "the fraud alerts",
    STOCK_LEVELS: "the stock levels",
    REORDER_REQUESTS: "the reorder requests",
    CUSTOMER_SEGMENTS: "the changes of segment",
    PRICE_UPDATES: "the decisions on prices",
}

#: Messages that are there more or less often than they must; ``{which}`` of them.
_DIFFERENCE = """
    select coalesce(s.topic, b.topic) || ': ' || coalesce(s.n, 0) || ' instead of ' || coalesce(b.n, 0) || ' of ' || message
    from (select topic, message, count(*) as n from said where {which} group by all) s full join
    (select topic, message, count(*) as n from batch where {which} group by all) b using (topic, message)
    where s.n is distinct from b.n"""

#: Each promise with the query of what breaks it; the first column of a row is the example.
PROMISES = {
    "the reactions read what was acknowledged, and nothing else": """
        select coalesce(l.topic, k.topic) || '/' || coalesce(l.partition, k.partition) from
        (select topic, "partition", sha256, count(*) as n from ledger where label <> 'reaction' group by all) l full join
        (select topic, "partition", coalesce(sha256(value), '') as sha256, count(*) as n from kafka
         where topic in (select topic from ledger where label <> 'reaction') group by all) k
        using (topic, "partition", sha256) where l.n is distinct from k.n""",
    "each thing that the reactions say has an id of its own": """
        select topic || '/' || event_id from ledger where label = 'reaction'
        group by topic, event_id having count(*) > 1""",
    "between two steps nothing is lost or sent twice": _DIFFERENCE.format(which="step"),
    **{
        f"{what} are those of the batch, each once": _DIFFERENCE.format(which=f"topic = '{contract.topic}'")
        for contract, what in _ONCE.items()
    },
    "what is numbered has no gap": """
        select topic || '/' || key || ': ' || count(*) || ' numbers up to ' || max(number) from numbered
        group by topic, key having count(*) <> max(number) or count(distinct number) <> count(*) or min(number) <> 1""",
    "a stock is its last count and what moved since": """
        select coalesce(e.key, f.key) || ': ' || coalesce(f.on_hand::varchar, 'nothing') || ' instead of ' ||
        coalesce(e.on_hand::varchar, 'nothing') from stock_expected e full join stock_newest f using (key)
        where coalesce(f.refused, 0) = 0 and (e.on_hand, e.events) is distinct from (f.on_hand, f.revision)""",
    "a live metric's revisions only grow": """
        select key || ': ' || revision || ' after ' || before from
        (select message ->> '$.metric_key' as key, (message ->> '$.revision')::bigint as revision, lag(revision) over
         (partition by key order by "partition", "offset") as before from said where topic = 'live-metrics')
        where revision <= before""",
    "a live metric is the sum of what was acknowledged, to the cent": """
        select coalesce(e.key, f.key) || ': ' || coalesce(f.figures::varchar, 'nothing') || ' instead of ' ||
        coalesce(e.figures::varchar, 'nothing') from metric_expected e full join metric_newest f using (key)
        where e.figures is distinct from f.figures or (f.exact and e.customers <> f.customers)""",
}

DAYS = "each day of the live metrics is that of what was acknowledged"

COUNTS = {
    **{contract.topic: f"select count(*) from said where topic = '{contract.topic}'" for contract in REACTION_TOPICS},
    "stocks": "select count(*) from stock_newest",
    "stocks that refused late events": "select count(*) from stock_newest where refused > 0",
    "live metrics' cells": "select count(*) from metric_newest",
}


def load_said(connection: DuckDBPyConnection, settings: Settings) -> bool:
    """Enter what the reactions said into the table ``ledger``: the lake must have it too. False where none ever ran."""
    path = committed_path(settings)
    if not path.exists():
        return False
    connection.execute("create table kafka as from read_parquet(?)", [str(path)])
    connection.execute(
        """insert into ledger select topic, "partition", "offset", 'reaction', sha256(value), lower(event ->> '$.event_id'),
        ((event ->> '$.event_time')::timestamptz at time zone 'UTC')::date, [0] from
        (select *, decode(value)::json as event from kafka where topic in (select unnest(?)))""",
        [[contract.topic for contract in REACTION_TOPICS]],
    )
    return True


def reaction_findings(connection: DuckDBPyConnection, settings: Settings, days: dict[str, Day]) -> Iterator[Finding]:
    """Which of the promises were broken, after :func:`load_said`; ``days`` are those of the ledger."""
    _load(connection, settings)
    for promise, sql in PROMISES.items():
        broken = connection.execute(sql).fetchall()
        if broken:
            yield Finding(promise, len(broken), str(broken[0][0]))
    rows = connection.execute(
        "select message ->> '$.window_date', (message ->> '$.orders')::int, message ->> '$.revenue_usd' from metric_newest "
        "where key like 'day:%:all:all'"
    ).fetchall()
    found = {date: (orders, None if revenue is None else Decimal(revenue)) for date, orders, revenue in rows}
    yield from differences(DAYS, found, orders_and_cents(days))


# --- Loading ----------------------------------------------------------------------------------------------------------


def _load(connection: DuckDBPyConnection, settings: Settings) -> None:
    steps = [step_topic(settings, step) for step in STEPS]

    def records(topic: str) -> Iterable[tuple[bytes, int]]:
        # A cursor of its own: records of two topics are read at once.
        return (
            connection.cursor()
            .execute('select value, append_ms from kafka where topic = ? order by "partition", "offset"', [topic])
            .fetchall()
        )

    said = connection.execute(
        'select topic, "partition", "offset", value from kafka where topic in (select unnest(?))',
        [[*steps, *(contract.topic for contract in REACTION_TOPICS)]],
    ).fetchall()
    # In one form, whoever wrote it: keys sorted.
    rows = [(topic, number, offset, _text(json.loads(value))) for topic, number, offset, value in said]
    _create(connection, "said", ("topic", "partition", "offset", "message"), rows, steps)
    again = [(topic, _text(message)) for topic, message in Recomputed(settings, records).messages()]
    _create(connection, "batch", ("topic", "message"), again, steps)
    connection.execute(_NUMBERED)
    _load_events(connection, settings)
    for sql in (_STOCK, _METRICS):
        connection.execute(sql)


def _create(
    connection: DuckDBPyConnection, name: str, columns: tuple[str, ...], rows: list[tuple[Any, ...]], steps: list[str]
) -> None:
    """A table of the rows, and in the column ``step`` whether a topic is one between two steps."""
    kinds = {"partition": pa.int32(), "offset": pa.int64()}
    schema = pa.schema([(column, kinds.get(column, pa.string())) for column in columns])
    arrays = zip(*rows, strict=True) if rows else ((),) * len(columns)
    table = pa.table([pa.array(array, entry.type) for array, entry in zip(arrays, schema, strict=True)], schema=schema)
    connection.register("rows", table)
    connection.execute(f"create table {name} as select *, topic in (select unnest(?)) as step from rows", [steps])
    connection.unregister("rows")


def _text(message: dict[str, Any]) -> str:
    return json.dumps(message, sort_keys=True, ensure_ascii=False)


_NUMBERED = """
    create table numbered as
    select topic, message ->> '$.stock_key' as key, (message ->> '$.revision')::bigint as number from said
    where topic = 'stock-levels' union all
    select topic, message ->> '$.customer_id', (message ->> '$.revision')::bigint from said
    where topic = 'customer-segments' union all
    select topic, message ->> '$.product_id', (message ->> '$.sequence')::bigint from said
    where topic = 'price-updates' union all
    select topic, (message ->> '$.store_id') || ':' || (message ->> '$.product_id'), (message ->> '$.cycle')::bigint
    from said where topic = 'reorder-requests'"""


def _load_events(connection: DuckDBPyConnection, settings: Settings) -> None:
    """The valid events that were acknowledged, each once, from their bytes; and the rates."""
    connection.execute(
        """create table events_once as select topic, lower(event ->> '$.event_id') as event_id,
        (event ->> '$.event_time')::timestamptz as event_time, event from
        (select topic, "partition", "offset", decode(value)::json as event from kafka where (topic, sha256(value)) in
         (select topic, sha256 from ledger where label <> 'reaction' and event_id is not null))
        qualify row_number() over (partition by topic, lower(event ->> '$.event_id') order by "partition", "offset") = 1"""
    )
    connection.execute(
        """create table sold as select event_id, event_time, event ->> '$.event_type' = 'sale' as sale,
        event ->> '$.channel' as channel, event ->> '$.store_id' as store, event ->> '$.fulfilment_store_id' as pick_up,
        event ->> '$.location.region' as region, event ->> '$.currency' as currency, event ->> '$.customer_id' as customer,
        item ->> '$.product_id' as product, item ->> '$.category' as category, (item ->> '$.quantity')::bigint as quantity,
        (item ->> '$.quantity')::bigint * (item ->> '$.unit_price')::decimal(18,4)
            - coalesce(item ->> '$.discount', '0')::decimal(18,4) as amount
        from (select *, unnest((event -> '$.items')::json[]) as item from events_once where topic = ?)""",
        [settings.kafka_topic],
    )
    connection.execute(
        """create table moved as
        select store || ':' || product as key, event_id, event_time, sum(quantity)::bigint as quantity, 0 as counted from
        (select event_id, event_time, coalesce(pick_up, store) as store, product,
         case when sale then -quantity else quantity end as quantity from sold) group by all
        union all
        select (event ->> '$.store_id') || ':' || (event ->> '$.product_id'), event_id, event_time,
        (event ->> '$.quantity')::bigint, (event ->> '$.movement' = 'count')::int from events_once where topic = ?""",
        [INVENTORY.topic],
    )
    connection.execute(
        "create table rates as select currency, valid_from::date as valid_from, usd_per_unit::decimal(18,8) as usd "
        "from read_csv(?, all_varchar = true)",
        [str(FX_RATES)],
    )


_STOCK = """
    create table stock_expected as select key, sum(quantity)::bigint as on_hand, any_value(events) as events from
    (select *, sum(counted) over (partition by key order by event_time, counted, event_id
      rows between unbounded preceding and current row) as counts_before,
     sum(counted) over (partition by key) as counts, count(*) over (partition by key) as events from moved)
    where counts_before = counts group by key;
    create table stock_newest as select message ->> '$.stock_key' as key, (message ->> '$.on_hand')::bigint as on_hand,
    (message ->> '$.revision')::bigint as revision, (message ->> '$.refused_events')::bigint as refused from said
    where topic = 'stock-levels'
    qualify row_number() over (partition by message ->> '$.stock_key' order by (message ->> '$.revision')::bigint desc) = 1"""

_METRICS = """
    create table sums as select event_id, event_time at time zone 'UTC' as moment, sale, customer, dimension, value,
    sum(quantity) as units, case when currency = 'USD' then sum(amount)::decimal(18,4) * 1::decimal(18,8)
        else sum(amount)::decimal(18,4) * (select arg_max(usd, valid_from) from rates r where r.currency = s.currency
            and valid_from <= (event_time at time zone 'UTC')::date) end as usd
    from (select *, unnest([('all', 'all'), ('channel', channel), ('store', store),
          ('region', coalesce(region, 'unknown')), ('category', coalesce(category, 'uncategorised'))]) as slice,
          slice[1] as dimension, slice[2] as value from sold) s
    group by event_id, event_time, sale, customer, currency, dimension, value;
    create table metric_expected as select
    grain || ':' || strftime(date_trunc(grain, moment), '%Y-%m-%dT%H:%M:%SZ') || ':' || dimension || ':' || value as key,
    (count(*) filter (sale), count(*) filter (not sale), sum(case when sale then units else -units end)::bigint,
     case when count(usd) = count(*) then sum(case when sale then usd else -usd end)::decimal(38,12) end) as figures,
    count(distinct customer) as customers
    from (select *, unnest(['minute', 'hour', 'day']) as grain from sums)
    group by grain, date_trunc(grain, moment), dimension, value;
    create table metric_newest as select message ->> '$.metric_key' as key, message::json as message,
    ((message ->> '$.orders')::bigint, (message ->> '$.returns')::bigint, (message ->> '$.units')::bigint,
     (message ->> '$.revenue_usd_exact')::decimal(38,12)) as figures, (message ->> '$.customers')::bigint as customers,
    message ->> '$.customers_method' = 'exact' as exact from said where topic = 'live-metrics'
    qualify row_number() over (partition by message ->> '$.metric_key' order by (message ->> '$.revision')::bigint desc) = 1"""
