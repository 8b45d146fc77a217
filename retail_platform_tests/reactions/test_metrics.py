import csv
import datetime as dt
import itertools
import json
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from retail_platform.contracts import TRANSACTIONS
from retail_platform.producer import online_retail
from retail_platform.reactions import events
from retail_platform.reactions.events import Line, Transaction
from retail_platform.reactions.metrics import cells, customers, duplicates
from retail_platform.reactions.metrics.cells import Cell, Contribution, LiveMetric, combined, contributions, rolled_up
from retail_platform.reactions.metrics.rates import Rates, read_rates

UTC = ZoneInfo("UTC")
NOON = dt.datetime(2026, 3, 2, 12, 34, 56, tzinfo=dt.UTC)
FX_RATES = Path(__file__).parents[2] / "dbt_project" / "seeds" / "fx_rates.csv"


@pytest.fixture(scope="module")
def rates() -> Rates:
    with FX_RATES.open() as file:
        return read_rates(file)


def line(quantity: int = 1, price: str = "10", category: str | None = "tea") -> Line:
    return Line("P1", category, quantity, Decimal(price), Decimal(0))


def sale(event_id: str, *lines: Line, **changed: object) -> Transaction:
    given = {
        "event_id": event_id,
        "event_type": "sale",
        "transaction_id": f"T-{event_id}",
        "event_time": NOON,
        "channel": "pos",
        "store_id": "S1",
        "currency": "USD",
        "lines": lines or (line(),),
    }
    return Transaction(**(given | changed))  # type: ignore[arg-type]


def cell_values(added: Iterable[Contribution]) -> dict[str, LiveMetric]:
    """Every cell after what is added in that order, its state stored as JSON in between."""
    states: dict[Cell, str | None] = {}
    found: dict[str, LiveMetric] = {}
    for one in added:
        state = cells.unpacked(json.loads(states.get(one.cell) or "null"))
        after, (metric,) = cells.step(state, one)
        states[one.cell] = json.dumps(after.packed())
        found[one.cell.key] = metric
    return found


def spread(found: Iterable[Transaction], rate: Decimal | None = Decimal(1)) -> list[Contribution]:
    return [one for event in found for one in grains(event, rate, UTC)]


def grains(event: Transaction, rate: Decimal | None, timezone: ZoneInfo) -> list[Contribution]:
    return [one for minute in contributions(event, rate, timezone) for one in rolled_up(minute, timezone)]


def once(arrivals: Iterable[Transaction]) -> list[Transaction]:
    states: dict[str, dict[str, object]] = {}
    passed: list[Transaction] = []
    for event in arrivals:
        state = duplicates.unpacked(states.get(event.transaction_id))
        after, through = duplicates.step(state, event)
        states[event.transaction_id] = after.packed()
        passed += through
    return passed


def shown(metric: LiveMetric) -> dict[str, object]:
    """What a cell says, without which event said it last and how many did."""
    return {
        name: value for name, value in metric.message().items() if name not in ("event_id", "event_time", "revision")
    }


def of_the_sample(value: bytes) -> Transaction:
    """An event of the sample, which is known to be valid, typed; to judge 42,000 lines again would take most of the time."""
    event = dict.fromkeys(("fulfilment_store_id", "register_id", "customer_id", "original_transaction_id"))
    event |= json.loads(value)
    event["payment"] = {"card_token": None, **event["payment"]}
    event["location"] = {"latitude": None, "longitude": None, **event["location"]}
    event["items"] = [{"category": None, **line} for line in event["items"]]
    return events.transaction(event)


def test_the_day_cells_of_the_sample_equal_the_expected_kpis_to_the_cent(rates: Rates) -> None:
    london = ZoneInfo("Europe/London")
    added: list[Contribution] = []
    for message in online_retail.messages(online_retail.read(online_retail.sample_file())):
        if message.topic == TRANSACTIONS.topic:
            typed = of_the_sample(message.value or b"")
            rate = rates.on(typed.currency, typed.event_time.astimezone(london).date())
            added += [one for one in grains(typed, rate, london) if one.cell.grain == "day"]
    found = cell_values(one for one in added if one.cell.dimension == "all")
    with online_retail.sample_expected_daily().open() as file:
        expected = [tuple(row.values()) for row in csv.DictReader(file)]
    assert [
        (
            metric.cell.business_date.isoformat(),
            str(metric.orders),
            str(metric.revenue_usd),
            str(metric.avg_order_value_usd),
        )
        for metric in found.values()
    ] == expected
    by_region = cell_values(one for one in added if one.cell.dimension == "region").values()
    for day in found.values():
        parts = [metric for metric in by_region if metric.cell.start == day.cell.start]
        assert sum(part.revenue_usd_exact or Decimal(0) for part in parts) == day.revenue_usd_exact


def test_an_event_touches_three_grains_of_each_of_its_values() -> None:
    event = sale("a", line(2, category="tea"), line(1, category=None), region=None)
    keys = {one.cell.key for one in grains(event, Decimal(1), UTC)}
    windows = ("minute:2026-03-02T12:34:00Z", "hour:2026-03-02T12:00:00Z", "day:2026-03-02T00:00:00Z")
    values = ("all:all", "channel:pos", "store:S1", "region:unknown", "category:tea", "category:uncategorised")
    assert keys == {f"{window}:{value}" for window, value in itertools.product(windows, values)}


def test_a_day_is_the_one_of_the_business_timezone_also_when_the_clocks_change() -> None:
    paris = ZoneInfo("Europe/Paris")
    late = dt.datetime(2026, 3, 28, 23, 30, tzinfo=dt.UTC)
    day = next(one.cell for one in grains(sale("a", event_time=late), Decimal(1), paris) if one.cell.grain == "day")
    assert (day.business_date, day.end - day.start) == (dt.date(2026, 3, 29), dt.timedelta(hours=23))


def test_returns_are_taken_off_revenue_and_units_and_are_no_orders() -> None:
    found = cell_values(spread([sale("a", line(3)), sale("b", line(1), event_type="return")]))
    day = found["day:2026-03-02T00:00:00Z:all:all"]
    assert (day.orders, day.returns, day.units, day.revenue_usd) == (1, 1, 2, Decimal("20.00"))
    assert day.avg_order_value_usd == Decimal("20.00")
    only_returns = cell_values(spread([sale("b", event_type="return")]))["day:2026-03-02T00:00:00Z:all:all"]
    assert only_returns.message()["avg_order_value_usd"] is None


def test_revenue_is_rounded_half_up_once_at_the_end() -> None:
    cents = [sale(str(number), line(1, "0.0025")) for number in range(2)]
    day = cell_values(spread(cents))["day:2026-03-02T00:00:00Z:all:all"]
    assert (day.revenue_usd_exact, day.revenue_usd) == (Decimal("0.0050"), Decimal("0.01"))


def test_revenue_is_unknown_while_an_exchange_rate_is_missing(rates: Rates) -> None:
    missing = rates.on("GBP", dt.date(2010, 10, 31))
    found = cell_values([*spread([sale("a")]), *spread([sale("b", currency="GBP")], missing)])
    day = found["day:2026-03-02T00:00:00Z:all:all"]
    assert (day.orders, day.message()["revenue_usd"], day.message()["avg_order_value_usd"]) == (2, None, None)


def test_a_rate_holds_from_its_date_until_the_next_one(rates: Rates) -> None:
    assert rates.on("GBP", dt.date(2010, 12, 31)) == Decimal("1.559576")
    assert rates.on("GBP", dt.date(2011, 1, 1)) == Decimal("1.578283")
    assert rates.on("USD", dt.date(1990, 1, 1)) == 1


def test_each_revision_of_a_cell_has_an_id_of_its_own_and_always_the_same() -> None:
    def ids() -> list[str]:
        state, found = cells.State(), []
        for one in (
            one for one in spread([sale("a"), sale("b")]) if one.cell.key.startswith("day:2026-03-02T00:00:00Z:all")
        ):
            state, (metric,) = cells.step(state, one)
            found.append(metric.message()["event_id"])
        return found

    assert ids() == ids()
    assert len(set(ids())) == 2


@st.composite
def transactions(draw: st.DrawFn) -> list[Transaction]:
    count = draw(st.integers(1, 8))
    return [
        sale(
            f"{number}",
            *draw(
                st.lists(
                    st.builds(line, st.integers(1, 9), st.sampled_from(["0.0001", "9.99"])), min_size=1, max_size=3
                )
            ),
            event_type=draw(st.sampled_from(["sale", "return"])),
            event_time=NOON + dt.timedelta(minutes=draw(st.integers(-2000, 2000))),
            customer_id=draw(st.sampled_from([None, "C1", "C2"])),
        )
        for number in range(count)
    ]


@hypothesis_settings(max_examples=15, deadline=None, derandomize=True)
@given(transactions(), st.randoms(use_true_random=False))
def test_late_events_and_duplicates_leave_the_same_cells_as_a_batch_in_order(found: list[Transaction], random) -> None:
    arrivals = [*found, *random.choices(found, k=3)]
    random.shuffle(arrivals)
    streamed = cell_values(spread(once(arrivals)))
    batch = cell_values(spread(sorted(found, key=lambda event: event.event_time)))
    minutes = combined(one for event in found for one in contributions(event, Decimal(1), UTC))
    at_once = cell_values(combined(one for minute in minutes for one in rolled_up(minute, UTC)))
    assert {key: shown(metric) for key, metric in streamed.items()} == {key: shown(m) for key, m in batch.items()}
    assert {key: shown(metric) for key, metric in at_once.items()} == {key: shown(m) for key, m in batch.items()}


@hypothesis_settings(max_examples=15, deadline=None, derandomize=True)
@given(transactions())
def test_a_contribution_comes_back_from_json_as_it_was(found: list[Transaction]) -> None:
    added = spread(found, Decimal("1.23456789"))
    assert [cells.unpacked_contribution(json.loads(json.dumps(one.packed()))) for one in added] == added


def test_a_seen_event_stays_seen_while_its_transaction_has_few_others() -> None:
    one_number = [sale(str(number), transaction_id="T") for number in range(3)]
    assert once([*one_number, *one_number]) == one_number


def test_customers_are_exact_up_to_the_bound_and_within_the_error_beyond_it() -> None:
    counted = customers.Customers()
    for number in range(20_000):
        counted = counted.added([customers.customer_hash(f"C{number}")]) if number < 300 else counted
        if number + 1 == customers.MOST_EXACT:
            assert (counted.exact, counted.count()) == (True, 256)
    assert not counted.exact
    assert abs(counted.count() - 300) <= 0.05 * 300
    many = counted.added(customers.customer_hash(f"C{number}") for number in range(20_000))
    assert abs(many.count() - 20_000) <= 0.07 * 20_000
    assert many.added([customers.customer_hash("C7")]) == many
    assert len(json.dumps(many.packed())) < 2_800
    assert customers.unpacked(json.loads(json.dumps(many.packed()))) == many


@hypothesis_settings(max_examples=20, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 600), max_size=700), st.randoms(use_true_random=False))
def test_distinct_customers_do_not_depend_on_order_or_repetition(numbers: list[int], random) -> None:
    hashes = [customers.customer_hash(str(number)) for number in numbers]
    shuffled = [*hashes, *hashes[:10]]
    random.shuffle(shuffled)
    one_by_one = customers.Customers()
    for found in shuffled:
        one_by_one = one_by_one.added([found])
    assert one_by_one == customers.Customers().added(hashes)
