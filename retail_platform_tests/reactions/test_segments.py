import datetime as dt
import itertools
import json
from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from random import Random

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from retail_platform.reactions.events import Line, Transaction
from retail_platform.reactions.segments import customers
from retail_platform.reactions.segments.customers import Purchase, Refresh, Rfm, SegmentChange
from retail_platform.reactions.segments.published import FILE, Published
from retail_platform.reactions.segments.quintiles import Cutoffs, Place, cutoffs, tile

TODAY = dt.date(2026, 3, 2)

#: Round cut-offs, so that a test shows which fifth a value is in.
FIXED = Cutoffs(
    "2026-03-01",
    recency=tuple((Decimal(days), "") for days in (10, 30, 90, 180)),
    frequency=tuple((Decimal(orders), "") for orders in (2, 3, 5, 8)),
    monetary=tuple((Decimal(usd), "") for usd in (50, 100, 250, 500)),
)


def purchase(event_id: str, days_ago: int, amount: str = "20", customer: str = "C1", orders: int = 1) -> Purchase:
    time = dt.datetime.combine(TODAY, dt.time(12), dt.UTC) - dt.timedelta(days=days_ago)
    return Purchase(event_id, time, customer, orders, Decimal(amount))


def midnight(days_ahead: int = 0, customer: str = "C1") -> Refresh:
    return Refresh(dt.datetime.combine(TODAY, dt.time(), dt.UTC) + dt.timedelta(days=days_ahead), customer)


def run(arrivals: Iterable[Purchase | Refresh], bounds: Cutoffs = FIXED) -> tuple[customers.State, list[SegmentChange]]:
    stored, found = "null", []
    for event in arrivals:
        after, changes = customers.step(customers.unpacked(json.loads(stored)), event, bounds)
        stored = json.dumps(after.packed())
        found += changes
    return customers.unpacked(json.loads(stored)), found


@hypothesis_settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.integers(-3, 3), max_size=23))
def test_cut_offs_give_the_tiles_of_duckdbs_ntile_with_ties_by_id(values: list[int]) -> None:
    places: list[Place] = [(Decimal(value), f"{'cC'[number % 2]}{number}") for number, value in enumerate(values)]
    bounds = cutoffs(places)
    rows = ", ".join(f"({value}, '{customer}')" for value, customer in places) or "(null, null)"
    query = f"select x, c, ntile(5) over (order by x, c) from (values {rows}) as t(x, c) where x is not null"
    expected = {customer: number for _, customer, number in duckdb.sql(query).fetchall()}
    assert {customer: tile(bounds, (value, customer)) for value, customer in places} == expected


@pytest.mark.parametrize(
    ("scores", "segment"),
    [
        ((5, 5, 5), "champions"),
        ((4, 4, 4), "champions"),
        ((5, 5, 3), "loyal"),
        ((3, 5, 5), "loyal"),
        ((5, 1, 5), "new"),
        ((3, 2, 2), "needs_attention"),
        ((2, 3, 3), "at_risk"),
        ((1, 5, 3), "at_risk"),
        ((2, 4, 4), "cant_lose"),
        ((1, 1, 5), "hibernating"),
    ],
)
def test_segments_by_scores(scores: tuple[int, int, int], segment: str) -> None:
    assert customers.named(Rfm(0, 0, Decimal(0), *scores)) == segment


def test_every_combination_of_scores_has_a_segment_and_every_segment_a_combination() -> None:
    found = {customers.named(Rfm(0, 0, Decimal(0), *scores)) for scores in itertools.product(range(1, 6), repeat=3)}
    assert found == {"champions", "loyal", "new", "needs_attention", "at_risk", "cant_lose", "hibernating"}


def test_a_first_purchase_makes_a_new_customer_and_many_a_champion() -> None:
    _, found = run([purchase(str(number), 0, "150") for number in range(6)])
    assert [(change.previous, change.segment) for change in found] == [
        (None, "new"),
        ("new", "loyal"),
        ("loyal", "champions"),
    ]


def test_time_alone_moves_a_customer_on() -> None:
    bought = [purchase(str(number), 0, "150") for number in range(6)]
    _, found = run([*bought, midnight(40), midnight(100), midnight(364), midnight(365)])
    assert [change.segment for change in found[2:]] == ["champions", "loyal", "cant_lose", "hibernating"]
    gone = found[-1].message()
    assert (gone["as_of"], gone["orders"], gone["recency_score"]) == ("2027-03-02", None, None)


def test_new_cut_offs_move_a_customer_at_the_next_refresh() -> None:
    stricter = replace(FIXED, version="2026-03-02", recency=((Decimal(0), ""),) * 4)
    state, _ = run([purchase("a", 0)])
    _, (change,) = customers.step(state, midnight(), stricter)
    assert (change.previous, change.segment, change.cutoffs_version) == ("new", "hibernating", "2026-03-02")


def test_before_there_are_cut_offs_the_year_is_kept_and_nothing_said() -> None:
    state, told = customers.State(), ()
    for number in range(3):
        state, told = customers.step(state, purchase(str(number), 5), None)
        assert told == ()
    _, (change,) = customers.step(state, midnight(), FIXED)
    assert (change.previous, change.segment, change.rfm and change.rfm.orders) == (None, "loyal", 3)


def test_cut_offs_are_read_again_when_others_are_published(tmp_path: Path) -> None:
    published = Published(tmp_path)
    assert published.cutoffs() is None

    def publish(value: int) -> None:
        row = {
            "as_of": TODAY,
            "measure": "frequency",
            "tile": 2,
            "first_value": Decimal(value),
            "first_customer_id": "C",
        }
        pq.write_table(pa.Table.from_pylist([row]), tmp_path / "draft")
        (tmp_path / "draft").replace(tmp_path / FILE)

    found = []
    for value in (3, 4, 4):
        publish(value)
        found.append(published.cutoffs())
    assert [one and one.frequency for one in found] == [((Decimal(value), "C"),) for value in (3, 4, 4)]
    assert [one and one.version[:11] for one in found] == ["2026-03-02."] * 3
    assert found[0] != found[1] == found[2]


def test_a_change_says_what_it_is_to_another_system() -> None:
    _, (change,) = run([purchase("a", 0, "20.005")])
    message = change.message()
    assert json.loads(json.dumps(message)) == message
    assert (message["revenue_usd"], json.loads(message["evidence"])["revenue_usd"]) == ("20.01", "20.005")
    assert (message["recency_score"], message["frequency_score"], message["monetary_score"]) == (5, 1, 1)
    assert message["event_id"] == change.message()["event_id"] != replace(change, revision=2).message()["event_id"]


def test_a_return_takes_revenue_off_and_is_no_order_and_no_visit() -> None:
    state, _ = run([purchase("a", 20, "80"), purchase("b", 0, "-30", orders=0)])
    rfm = customers.measured(state, "C1", FIXED)
    assert rfm is not None
    assert (rfm.recency_days, rfm.orders, rfm.revenue_usd) == (20, 1, Decimal(50))


def test_a_transaction_of_nobody_known_or_without_a_rate_is_no_purchase() -> None:
    line = Line("P1", None, 2, Decimal("1.25"), Decimal("0.5"))
    time = dt.datetime.combine(TODAY, dt.time(12), dt.UTC)
    event = Transaction("e", "return", "T", time, "pos", "S1", "GBP", (line,), customer_id="C1")
    found = customers.from_transaction(event, Decimal("1.5"))
    assert found == Purchase("e", time, "C1", 0, Decimal("-3.000"))
    assert customers.unpacked_event(json.loads(json.dumps(found.packed()))) == found
    assert customers.from_transaction(event, None) is None
    assert customers.from_transaction(replace(event, customer_id=None), Decimal(1)) is None


BATCH = """
    with rfm as (
        select
            customer_id,
            date '2026-03-02' - max(case when orders = 1 then date end) as recency_days,
            sum(orders) as orders,
            sum(amount) as revenue
        from purchases
        where date > date '2026-03-02' - 365
        group by customer_id
        having sum(orders) > 0
    )
    select
        customer_id, recency_days, orders, revenue,
        6 - ntile(5) over (order by recency_days, customer_id) as r,
        ntile(5) over (order by orders, customer_id) as f,
        ntile(5) over (order by revenue, customer_id) as m
    from rfm
"""


@hypothesis_settings(max_examples=8, deadline=None, derandomize=True)
@given(st.randoms(use_true_random=False))
def test_at_midnight_the_live_segments_equal_the_batch_sql_whatever_the_order_and_duplicates(random: Random) -> None:
    bought = [
        purchase(f"{number}", random.randint(1, 400), f"{random.randint(1, 9)}.5", f"C{random.randint(1, 17)}")
        for number in range(60)
    ]
    bought += [purchase(f"r{number}", random.randint(1, 400), "-2.25", f"C{number}", orders=0) for number in range(5)]
    with duckdb.connect() as warehouse:
        warehouse.sql("create table purchases (customer_id varchar, date date, orders integer, amount decimal(18, 2))")
        warehouse.executemany(
            "insert into purchases values (?, ?, ?, ?)",
            [[one.customer_id, one.event_time.date(), one.orders, one.amount_usd] for one in bought],
        )
        batch = {row[0]: row[1:] for row in warehouse.sql(BATCH).fetchall()}
    bounds = Cutoffs(
        "nightly", *(cutoffs((Decimal(row[column]), name) for name, row in batch.items()) for column in range(3))
    )
    live = {}
    for customer in {one.customer_id for one in bought}:
        arrivals = [one for one in bought if one.customer_id == customer]
        arrivals += random.choices(arrivals, k=2)
        random.shuffle(arrivals)
        state, _ = run([*arrivals, midnight(customer=customer)], bounds)
        rfm = customers.measured(state, customer, bounds)
        if rfm:
            live[customer] = (
                rfm.recency_days, rfm.orders, rfm.revenue_usd, rfm.recency, rfm.frequency, rfm.monetary
            )  # fmt: skip
            assert state.segment == customers.named(rfm)
    assert live == batch


def test_a_state_stays_within_its_bounds() -> None:
    state, _ = run([purchase(f"{number}", 400 - number) for number in range(400)])
    assert (len(state.days), len(state.event_ids)) == (365, 256)
