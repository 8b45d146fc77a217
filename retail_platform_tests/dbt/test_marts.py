import csv
import datetime as dt
import itertools
import random
from collections.abc import Sequence
from decimal import Decimal

import duckdb
import pytest

from retail_platform.contracts import (
    CUSTOMER_SEGMENTS,
    FRAUD_ALERTS,
    INVENTORY,
    PRICE_UPDATES,
    REORDER_REQUESTS,
    STOCK_LEVELS,
    TRANSACTIONS,
    WAREHOUSE_TABLES,
)
from retail_platform.contracts.judge import judge
from retail_platform.contracts.reactions import SEGMENTS
from retail_platform.errors import RetailError
from retail_platform.lakehouse.manifest import manifest
from retail_platform.producer import online_retail
from retail_platform.reactions.events import transaction
from retail_platform.reactions.fraud.alerts import Alert, Hit
from retail_platform.reactions.metrics.rates import read_rates
from retail_platform.reactions.outputs import evidence
from retail_platform.reactions.segments import customers
from retail_platform.reactions.segments.published import FILE, read
from retail_platform.reactions.stock import levels
from retail_platform.reactions.stock.levels import Reason, StockEvent
from retail_platform.reactions.stock.policy import reorder_point
from retail_platform.settings import FX_RATES, Settings, load_settings
from retail_platform.warehouse import open_warehouse
from retail_platform.warehouse.kpi_file import daily_kpis
from retail_platform.warehouse.segments import compare_segments
from retail_platform.warehouse.tie_out import tie_out
from retail_platform_tests.dbt.project import DbtProject
from retail_platform_tests.warehouse.silver import (
    COMMITTED,
    LINES,
    MOVEMENTS,
    Row,
    batch,
    line,
    replace_day,
    row_of,
    rows_of,
    write,
    write_lake,
)

WINDOWED = (
    "fct_order_lines",
    "fct_orders",
    "agg_daily_kpis",
    "agg_daily_sales_by_category",
    "agg_daily_sales_by_region",
    "agg_hourly_orders",
)
DIMENSIONS = ("dim_products", "dim_stores", "dim_customers", "customer_rfm", "customer_rfm_cutoffs")
NO_UNIT_TESTS = ("--exclude", "test_type:unit")


@pytest.fixture(scope="module")
def dbt(tmp_path_factory: pytest.TempPathFactory) -> DbtProject:
    return DbtProject(tmp_path_factory.mktemp("dbt"))


@pytest.fixture(scope="module")
def december(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A lake with December 2010, loaded into a warehouse."""
    home = tmp_path_factory.mktemp("december")
    settings = load_settings(env_file=None, retail_home=home, retail_outputs=home / "outputs")
    lines, movements = rows_of(online_retail.messages(online_retail.read(online_retail.sample_file())))
    write_lake(settings, lines, movements)
    load(settings)
    return settings


@pytest.fixture(scope="module")
def built(december: Settings, dbt: DbtProject) -> Settings:
    """December built as one range, with every test and unit test of the project."""
    dbt.parse(december)
    assert dbt.run(december, "build", expected_dates()) == (True, {})
    return december


def load(settings: Settings, dates: Sequence[dt.date] | None = None) -> None:
    warehouse = open_warehouse(settings)
    for table in WAREHOUSE_TABLES:
        warehouse.load(manifest(settings, table, dates), "run-1")


def expected() -> list[tuple[dt.date, int, Decimal, Decimal]]:
    with online_retail.sample_expected_daily().open() as file:
        return [
            (
                dt.date.fromisoformat(row["date"]),
                int(row["orders"]),
                Decimal(row["revenue_usd"]),
                Decimal(row["avg_order_value_usd"]),
            )
            for row in csv.DictReader(file)
        ]


def expected_dates() -> list[dt.date]:
    return [row[0] for row in expected()]


def figures(settings: Settings) -> list[tuple[dt.date, int, Decimal, Decimal | None]]:
    rows = daily_kpis(open_warehouse(settings), expected_dates())
    return [(row.date, row.orders, row.revenue_usd, row.avg_order_value_usd) for row in rows]


def contents(settings: Settings, marts: Sequence[str]) -> dict[str, list[Row]]:
    warehouse = open_warehouse(settings)
    return {mart: warehouse.query(f"select * from marts.{mart} order by all").to_pylist() for mart in marts}


def test_the_month_comes_to_the_expected_figures_to_the_cent(built: Settings) -> None:
    assert figures(built) == expected()


def test_the_marts_tie_out_with_silver_latency_included(built: Settings) -> None:
    assert tie_out(open_warehouse(built), built, expected_dates()) == []
    published = daily_kpis(open_warehouse(built), expected_dates())
    assert all(row.streaming_latency_ms is not None for row in published)


def test_a_mart_that_was_tampered_with_does_not_tie_out(built: Settings) -> None:
    with duckdb.connect(built.warehouse_path) as connection:
        connection.execute("update marts.agg_daily_kpis set revenue_usd = 0 where business_date = '2010-12-07'")
    try:
        assert [str(found) for found in tie_out(open_warehouse(built), built, expected_dates())] == [
            "marts/agg_daily_kpis 2010-12-07: revenue_usd is 0.00, silver has 70273.01"
        ]
    finally:
        with duckdb.connect(built.warehouse_path) as connection:
            connection.execute(
                "update marts.agg_daily_kpis set revenue_usd = 70273.01 where business_date = '2010-12-07'"
            )


def test_a_date_that_was_never_loaded_cannot_tie_out(built: Settings) -> None:
    with pytest.raises(RetailError, match="2011-01-05: never loaded"):
        tie_out(open_warehouse(built), built, [dt.date(2010, 12, 7), dt.date(2011, 1, 5)])


def test_a_second_load_and_build_change_nothing(built: Settings, dbt: DbtProject) -> None:
    before = contents(built, (*WINDOWED, *DIMENSIONS))
    load(built)
    assert dbt.run(built, "build", expected_dates(), *NO_UNIT_TESTS) == (True, {})
    assert contents(built, (*WINDOWED, *DIMENSIONS)) == before


def test_days_one_by_one_in_any_order_equal_the_range(
    built: Settings, dbt: DbtProject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    days = [dt.date(2010, 12, 8), dt.date(2010, 12, 6), dt.date(2010, 12, 7)]
    home = tmp_path_factory.mktemp("days")
    alone = load_settings(env_file=None, retail_home=home, retail_outputs=home / "outputs")
    home.joinpath("lake").symlink_to(built.lake_dir)
    load(alone, days)
    dbt.run(alone, "seed")
    for day in days:
        assert dbt.run(alone, "run", [day]) == (True, {})
    for mart in WINDOWED:
        listed = f"select * from marts.{mart} where business_date between '{min(days)}' and '{max(days)}' order by all"
        assert open_warehouse(alone).query(f"select * from marts.{mart} order by all") == open_warehouse(built).query(
            listed
        )


def test_dimensions_do_not_depend_on_the_day_that_ran_last(built: Settings, dbt: DbtProject) -> None:
    before = contents(built, DIMENSIONS)
    assert dbt.run(built, "run", [dt.date(2010, 12, 1)]) == (True, {})
    assert contents(built, DIMENSIONS) == before
    assert len(before["dim_products"]) > 2_000


def test_without_a_window_everything_is_built_again(built: Settings, dbt: DbtProject) -> None:
    before = contents(built, WINDOWED)
    assert dbt.run(built, "run") == (True, {})
    assert contents(built, WINDOWED) == before


def test_at_midnight_the_live_segments_are_those_of_the_mart(built: Settings) -> None:
    """Every customer of the month, by the live rule over the same events and the cut-offs that were published."""
    open_warehouse(built).publish(["customer_rfm_cutoffs"], built.marts_dir)
    found = read(built.marts_dir / FILE)
    assert found is not None
    as_of, cutoffs = found
    with FX_RATES.open() as lines:
        rates = read_rates(lines)
    states: dict[str, customers.State] = {}
    for message in online_retail.messages(online_retail.read(online_retail.sample_file())):
        if message.topic != TRANSACTIONS.topic:
            continue
        event = judge(TRANSACTIONS, message.value, dt.datetime.now(dt.UTC), "UTC", FIRST).event
        assert event is not None
        bought = transaction(event)
        purchase = customers.from_transaction(bought, rates.on(bought.currency, bought.event_time.date()))
        if purchase is not None:
            state = states.get(purchase.customer_id, customers.State())
            states[purchase.customer_id], _ = customers.step(state, purchase, cutoffs)
    live = []
    for customer, state in states.items():
        midnight = customers.Refresh(dt.datetime.combine(as_of, dt.time(), dt.UTC), customer)
        after, _ = customers.step(state, midnight, cutoffs)
        rfm = customers.measured(after, customer, cutoffs)
        if rfm is not None:
            scores = (rfm.recency, rfm.frequency, rfm.monetary)
            live.append((customer, rfm.recency_days, rfm.orders, rfm.revenue_usd, *scores, after.segment))
    rows = open_warehouse(built).query("select * exclude (as_of, revenue_usd) from marts.customer_rfm").to_pylist()
    assert as_of == dt.date(2010, 12, 24)
    assert len(live) > 800
    assert {row[-1] for row in live} == set(SEGMENTS)
    assert sorted(live) == sorted(tuple(row.values()) for row in rows)


FIRST, SECOND = dt.date(2010, 12, 1), dt.date(2010, 12, 2)


def build_small(settings: Settings, dbt: DbtProject, lines: Sequence[Row]) -> tuple[bool, dict[str, str]]:
    write_lake(settings, lines)
    load(settings)
    return dbt.run(settings, "build", [FIRST, SECOND], *NO_UNIT_TESTS)


@pytest.mark.usefixtures("built")
def test_a_date_that_lost_its_rows_disappears_from_every_mart(settings: Settings, dbt: DbtProject) -> None:
    assert build_small(settings, dbt, [line("a", FIRST), line("b", SECOND)]) == (True, {})
    replace_day(settings, LINES, FIRST, [])
    load(settings, [FIRST])
    assert dbt.run(settings, "build", [FIRST], *NO_UNIT_TESTS) == (True, {})
    for mart, rows in contents(settings, WINDOWED).items():
        assert {row["business_date"] for row in rows} == {SECOND}, mart


@pytest.mark.usefixtures("built")
def test_a_currency_without_a_rate_fails_by_name_and_reaches_no_sum(settings: Settings, dbt: DbtProject) -> None:
    success, failed = build_small(
        settings, dbt, [line("a", FIRST), line("b", SECOND), line("c", SECOND, currency="JPY")]
    )
    assert not success
    assert list(failed) == ["every_currency_has_a_rate"]
    assert "no exchange rate for JPY on 2010-12-02" in failed["every_currency_has_a_rate"]
    dbt.run(settings, "run", [FIRST, SECOND])
    assert daily_kpis(open_warehouse(settings), [FIRST])[0].orders == 1
    with pytest.raises(RetailError, match="revenue of 2010-12-02 is unknown"):
        daily_kpis(open_warehouse(settings), [FIRST, SECOND])


WARNINGS = (
    "alerts_come_within_a_second",
    "stock_levels_come_within_a_second",
    "reorder_requests_come_within_a_second",
    "segments_come_within_a_second",
    "prices_come_within_a_second",
    "days_close_with_the_stock_that_the_stream_says",
    "stock_is_the_last_count_and_what_moved_since",
    "one_request_a_cycle",
    "reorder_points_follow_from_their_inputs",
    "prices_keep_to_their_limits",
)


def warned(settings: Settings, dbt: DbtProject) -> set[str]:
    return dbt.found_by(settings, WARNINGS, [FIRST, SECOND])


def stock_of(events: Sequence[StockEvent]) -> list[Row]:
    """What the stream says, event by event, as silver has it."""
    state, rows = levels.State(), []
    for offset, event in enumerate(events):
        state, found = levels.step(state, event)
        rows += [row_of(STOCK_LEVELS, level.message(), offset) for level in found]
    return rows


def moved(event: StockEvent, offset: int) -> Row:
    values = {name: getattr(event, name) for name in ("event_id", "store_id", "product_id", "quantity")}
    return row_of(INVENTORY, {**values, "event_time": event.event_time.isoformat(), "movement": event.reason}, offset)


@pytest.mark.usefixtures("built")
def test_stock_adds_up_by_day_and_a_level_that_the_events_do_not_give_is_told(
    settings: Settings, dbt: DbtProject
) -> None:
    def at(day: dt.date, hour: int, reason: Reason, quantity: int) -> StockEvent:
        moment = dt.datetime.combine(day, dt.time(hour), dt.UTC)
        return StockEvent(f"{reason}-{day}-{hour}", moment, "S1", "P1", reason, quantity)

    sold = at(FIRST, 12, "sale", -3)
    movements = [at(FIRST, 8, "receipt", 10), at(SECOND, 9, "shrinkage", -1), at(SECOND, 7, "count", 5)]
    arrivals = [movements[0], sold, *movements[1:]]
    write_lake(settings, [line(sold.event_id, FIRST, event_time=sold.event_time, quantity=3)])
    write(settings, MOVEMENTS, [moved(event, offset) for offset, event in enumerate(movements)])
    levels_seen = stock_of(arrivals)
    write(settings, STOCK_LEVELS.silver_table, levels_seen)
    load(settings)
    assert dbt.run(settings, "build", [FIRST, SECOND], *NO_UNIT_TESTS) == (True, {})
    found = open_warehouse(settings).query("select * from marts.inventory_daily order by business_date").to_pylist()
    assert [(row["closing_on_hand"], row["lowest_on_hand"], row["units_sold"], row["changes"]) for row in found] == [
        (7, 7, 3, 2),
        (4, 4, 0, 2),
    ]
    assert [(row["units_received"], row["units_adjusted"], row["counts"]) for row in found] == [(10, 0, 0), (0, -1, 1)]
    assert warned(settings, dbt) == set()
    levels_seen[-1]["on_hand"] += 1
    replace_day(settings, STOCK_LEVELS.silver_table, SECOND, levels_seen[2:])
    load(settings, [SECOND])
    assert warned(settings, dbt) == {
        "days_close_with_the_stock_that_the_stream_says",
        "stock_is_the_last_count_and_what_moved_since",
    }


@pytest.mark.usefixtures("built")
def test_each_day_closes_with_the_stock_of_its_events_in_order_however_they_came(
    settings: Settings, dbt: DbtProject
) -> None:
    """Two hundred stocks of three days, half of each stock's events after the days were built; by the stream's own rule."""
    chance = random.Random(7)
    stocks = [_some_stock(chance, f"P{number}") for number in range(200)]
    arrivals = [chance.sample(stock, len(stock)) for stock in stocks]
    rows = [stock_of(arrived) for arrived in arrivals]
    counts = [moved(event, 0) for stock in stocks for event in stock if event.reason == "count"]
    write_lake(settings, [], counts, [batch(0, [])])
    table = STOCK_LEVELS.silver_table
    write(settings, table, [row for of in rows for row in of[: len(of) // 2]])
    load(settings)
    days = [FIRST, SECOND, SECOND + dt.timedelta(days=1)]
    stock_models = ("--select", "+inventory_daily")
    assert dbt.run(settings, "run", days, *stock_models) == (True, {})
    write(settings, table, [row for of in rows for row in of[len(of) // 2 :]])
    load(settings)
    for day in (days[1], days[2], days[0]):
        assert dbt.run(settings, "run", [day], *stock_models) == (True, {})
    expected = {}
    for stock in stocks:
        ordered = sorted(stock, key=lambda one: (one.event_time, one.reason == "count", one.event_id))
        state = levels.State()
        for date, of_day in itertools.groupby(ordered, lambda one: one.event_time.date()):
            seen, corrected = {}, 0
            for event in of_day:
                state, (level,) = levels.step(state, event)
                seen[event.event_time] = level.on_hand
                corrected += level.change if event.reason == "count" else 0
            expected[date, event.product_id] = (level.on_hand, min(seen.values()), corrected)
    found = open_warehouse(settings).query("select * from marts.inventory_daily").to_pylist()
    figures_of = ("closing_on_hand", "lowest_on_hand", "units_corrected_by_counts")
    assert {
        (row["business_date"], row["product_id"]): tuple(row[name] for name in figures_of) for row in found
    } == expected


def _some_stock(chance: random.Random, product: str) -> list[StockEvent]:
    """Up to thirty events of three days, some at one instant."""
    reasons: tuple[Reason, ...] = ("sale", "sale", "sale", "return", "receipt", "count", "shrinkage", "transfer_out")
    found = []
    for number in range(chance.randint(1, 30)):
        moment = dt.datetime.combine(FIRST, dt.time(), dt.UTC) + dt.timedelta(hours=chance.randrange(72))
        reason = chance.choice(reasons)
        units = chance.randint(0, 20)
        quantity = -units if reason in ("sale", "shrinkage", "transfer_out") else units
        event_id = f"{chance.getrandbits(32):08x}-{number}"
        found.append(StockEvent(event_id, moment, "S1", product, reason, quantity))
    return found


@pytest.mark.usefixtures("built")
def test_an_alert_has_its_purchase_and_its_latency_and_late_ones_are_told(settings: Settings, dbt: DbtProject) -> None:
    paid = dt.datetime.combine(FIRST, dt.time(12), dt.UTC)
    hit = Hit("velocity_1h", "1", Decimal("0.5"), False, {"purchases": 9})
    alert = Alert(paid, "a", "T-a", "tok", "S1", hit, "p1", Decimal("0.5"), "medium")
    append = COMMITTED - dt.timedelta(seconds=5)
    row = row_of(FRAUD_ALERTS, alert.message(), 0) | {"append_time": append + dt.timedelta(milliseconds=250)}
    write_lake(settings, [line("a", FIRST, append_time=append, currency="USD")])
    write(settings, FRAUD_ALERTS.silver_table, [row])
    load(settings)
    assert dbt.run(settings, "build", [FIRST, SECOND], *NO_UNIT_TESTS) == (True, {})
    told = open_warehouse(settings).query("select * from marts.fct_fraud_alerts").to_pylist()
    assert [(one["alert_id"], one["latency_ms"], one["purchase_usd"]) for one in told] == [
        (alert.alert_id, 250, Decimal("10.00"))
    ]
    verdicts = open_warehouse(settings).query("select * from marts.fraud_alert_verdicts").to_pylist()
    assert [(one["alert_id"], one["purchase_usd"], one["verdict"]) for one in verdicts] == [
        (alert.alert_id, Decimal("10.00"), None)
    ]
    assert warned(settings, dbt) == set()
    late = row | {"append_time": append + dt.timedelta(milliseconds=1001)}
    replace_day(settings, FRAUD_ALERTS.silver_table, FIRST, [late])
    load(settings, [FIRST])
    assert dbt.run(settings, "run", [FIRST]) == (True, {})
    assert warned(settings, dbt) == {"alerts_come_within_a_second"}


REORDERS = ((100, 20, 7, 2, 0.95), (0.25, 0.6, 3, 0, 0.5), (0.02, 0.1, 14, 5, 0.99), (3, 1.7, 7, 2, 0.2))


def requests(moment: dt.datetime) -> list[Row]:
    """A request a product, of quick and slow ones and of high and low service levels, by the stream's own formula."""
    found = []
    for number, (mean, deviation, lead_time, lead_time_deviation, service_level) in enumerate(REORDERS):
        point = reorder_point(mean, deviation, lead_time, lead_time_deviation, service_level)
        given = {"lead_time_days": lead_time, "lead_time_deviation_days": lead_time_deviation}
        units = {"reorder_point": point.units, "safety_stock": point.safety_stock, "economic_quantity": 1.0}
        units |= {"demand_mean": mean, "demand_deviation": deviation}
        message = {
            **dict.fromkeys(("quantity", "position", "on_hand", "backorders", "cycle"), 1),
            **{name: f"{value:.4f}" for name, value in units.items()},
            "event_id": f"r{number}",
            "event_time": moment.isoformat(),
            "request_id": f"S1:P{number}:1",
            "store_id": "S1",
            "product_id": f"P{number}",
            "status": "requested",
            "demand_method": "mean",
            "parameters_version": "1",
            "evidence": evidence(demand_days=30, **given, service_level=service_level),
        }
        found.append(row_of(REORDER_REQUESTS, message, number))
    return found


def priced(moment: dt.datetime, *steps: tuple[int, str, str]) -> list[Row]:
    """Prices applied hour by hour: number, price before, price."""
    return [
        row_of(
            PRICE_UPDATES,
            {
                **dict.fromkeys(("floor", "ceiling"), "1.00"),
                "event_id": f"p{sequence}",
                "event_time": (moment + dt.timedelta(hours=hour)).isoformat(),
                "product_id": "P0",
                "sequence": sequence,
                "status": "applied",
                "price": price,
                "current_price": before,
                "effective_price": price,
                "reason": "optimum",
                "parameters_version": "1",
                "evidence": "{}",
            },
            hour,
        )
        for hour, (sequence, before, price) in enumerate(steps)
    ]


@pytest.mark.usefixtures("built")
def test_what_reactions_say_late_or_against_their_rules_is_told(settings: Settings, dbt: DbtProject) -> None:
    paid = dt.datetime.combine(FIRST, dt.time(12), dt.UTC)
    append = COMMITTED - dt.timedelta(seconds=5)

    def write_all(prices: list[Row], orders: list[Row], after: int) -> None:
        segment = customers.SegmentChange(paid, "C", FIRST, "new", None, 1, None, "2010-12-01.x", "1")
        said = {
            STOCK_LEVELS: stock_of([StockEvent("a", paid, "S1", "P0", "sale", -1)]),
            REORDER_REQUESTS: orders,
            CUSTOMER_SEGMENTS: [row_of(CUSTOMER_SEGMENTS, segment.message(), 0)],
            PRICE_UPDATES: prices,
        }
        for contract, rows in said.items():
            caused = (row["event_time"] if contract is PRICE_UPDATES else append for row in rows)
            late = dt.timedelta(milliseconds=after)
            told = [row | {"append_time": at + late} for row, at in zip(rows, caused, strict=True)]
            replace_day(settings, contract.silver_table, FIRST, told)
        load(settings, [FIRST])
        assert dbt.run(settings, "run", [FIRST]) == (True, {})

    sale = line("a", FIRST, event_time=paid, append_time=append, product_id="P0", customer_id="C", currency="USD")
    write_lake(settings, [sale])
    load(settings)
    dbt.run(settings, "seed")
    prices = [(1, "10.00", "10.50"), (2, "10.50", "11.00"), (3, "11.00", "10.48")]
    write_all(priced(paid, *prices), requests(paid), 250)
    assert warned(settings, dbt) == set()
    twice = [requests(paid)[0] | {"event_id": "again"}]
    write_all(priced(paid, *prices, (4, "10.48", "9.99")), requests(paid) + twice, 1001)
    assert warned(settings, dbt) == {
        "stock_levels_come_within_a_second",
        "reorder_requests_come_within_a_second",
        "segments_come_within_a_second",
        "prices_come_within_a_second",
        "one_request_a_cycle",
        "prices_keep_to_their_limits",
    }
    for broken in ({"safety_stock": Decimal(300)}, {"demand_mean": Decimal(90)}):
        write_all(priced(paid, (1, "10.00", "10.50"), (3, "10.50", "10.60")), [requests(paid)[0] | broken], 250)
        assert warned(settings, dbt) == {"prices_keep_to_their_limits", "reorder_points_follow_from_their_inputs"}


def bought(settings: Settings, date: dt.date, *customers: str) -> None:
    """The day's only purchases are one of each of ``customers``; loaded."""
    lines = [line(f"{date}-{n}", date, currency="USD", customer_id=customer) for n, customer in enumerate(customers)]
    replace_day(settings, LINES, date, lines)
    load(settings, [date])


@pytest.mark.usefixtures("built")
def test_the_snapshot_of_segments_goes_by_the_marts_dates_and_never_back(settings: Settings, dbt: DbtProject) -> None:
    def built_on(*dates: dt.date) -> dict[str, list[tuple[str, int, int | None]]]:
        selected = ("--select", "+customer_rfm_snapshot", "--indirect-selection", "cautious", *NO_UNIT_TESTS)
        assert dbt.run(settings, "build", dates, *selected) == (True, {})
        found: dict[str, list[tuple[str, int, int | None]]] = {}
        query = "select * from marts.customer_rfm_snapshot order by customer_id, dbt_valid_from"
        for row in open_warehouse(settings).query(query).to_pylist():
            until = row["dbt_valid_to"] and (row["dbt_valid_to"] - FIRST).days
            found.setdefault(row["customer_id"], []).append(
                (row["segment"], (row["dbt_valid_from"] - FIRST).days, until)
            )
        return found

    write_lake(settings, [])
    bought(settings, FIRST, "A", "B", "C", "D", "E")
    began = dict(zip("ABCDE", ("new", "new", "loyal", "cant_lose", "cant_lose"), strict=True))
    assert built_on(FIRST) == {customer: [(segment, 1, None)] for customer, segment in began.items()}

    bought(settings, SECOND, "A", "A", "A", "F")
    moved_on = built_on(SECOND)
    assert moved_on["A"] == [("new", 1, 2), ("champions", 2, None)]
    assert moved_on["F"][0][1:] == (2, None)
    assert built_on(SECOND) == moved_on

    # The newest day again, with other sales: what the last build had said of its date is taken back.
    bought(settings, SECOND, "B", "B", "B", "F")
    again = built_on(SECOND)
    assert "champions" not in {segment for segment, *_ in again["A"]}
    assert again["B"] == [("new", 1, 2), ("champions", 2, None)]

    # An old day again: known from the newest date on, the shop being shut on the day before it.
    bought(settings, SECOND + dt.timedelta(days=1))
    before = built_on(SECOND + dt.timedelta(days=1))
    bought(settings, FIRST, *"AAAABCDE")
    after = built_on(FIRST)
    assert after != before
    assert {version[1] for of in after.values() for version in of} <= {1, 2, 3}
    for customer, versions in before.items():
        assert [version[:2] for version in after[customer] if version[1] < 3] == [
            version[:2] for version in versions if version[1] < 3
        ]

    # A year on, and nobody has come.
    later = FIRST + dt.timedelta(days=366)
    bought(settings, later, "F")
    last = {customer: versions[-1] for customer, versions in built_on(later).items()}
    assert last.pop("F")[2] is None
    assert {(segment, until) for segment, _, until in last.values()} == {("hibernating", None)}
    assert last["B"][1] == 367


@pytest.mark.usefixtures("built")
def test_half_a_window_is_refused(settings: Settings, dbt: DbtProject, monkeypatch: pytest.MonkeyPatch) -> None:
    write_lake(settings, [line("a", FIRST)])
    load(settings)
    dbt.run(settings, "seed")
    monkeypatch.setenv("RETAIL_START_DATE", "2010-12-01")
    _, failed = dbt.run(settings, "run")
    assert "give both RETAIL_START_DATE and RETAIL_END_DATE" in failed["fct_order_lines"]


@pytest.mark.usefixtures("built")
def test_odd_events_tie_out_with_silver(settings: Settings, dbt: DbtProject) -> None:
    lines = [
        line("tie", FIRST, currency="USD", unit_price=Decimal("2.0100")),
        line("free", FIRST, currency="USD", unit_price=Decimal("0.0000")),
        line("large", SECOND, currency="EUR", quantity=10_000_000, unit_price=Decimal("999999.9999")),
        line("large", SECOND, 2, currency="EUR", unit_price=Decimal("0.0001"), category="toys"),
        line("back", SECOND, event_type="return", unit_price=Decimal("33.3333"), discount=Decimal("0.3333")),
    ]
    assert build_small(settings, dbt, lines) == (True, {})
    assert tie_out(open_warehouse(settings), settings, [FIRST, SECOND]) == []
    assert daily_kpis(open_warehouse(settings), [FIRST])[0].avg_order_value_usd == Decimal("1.01")


def test_every_model_and_column_is_described(built: Settings, dbt: DbtProject) -> None:
    assert dbt.parsed is not None
    models = [node for node in dbt.parsed.nodes.values() if node.resource_type in ("model", "snapshot")]
    bare = [node.name for node in models if not node.description]
    bare += [
        f"{node.name}.{name}" for node in models for name, column in node.columns.items() if not column.description
    ]
    assert bare == []
    for node in models:
        found = open_warehouse(built).query(f"select * from {node.schema}.{node.name} limit 0").column_names
        assert sorted(found) == sorted(node.columns), node.name


@pytest.mark.usefixtures("built")
def test_live_segments_of_a_midnight_are_compared_with_the_marts_of_that_date(
    settings: Settings, dbt: DbtProject
) -> None:
    midnight = dt.datetime.combine(SECOND, dt.time(), dt.UTC)
    refreshed = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)

    def told(customer: str, segment: customers.Segment) -> Row:
        change = customers.SegmentChange(midnight, customer, SECOND, segment, None, 1, None, f"{SECOND}.x", "1")
        return row_of(CUSTOMER_SEGMENTS, change.message(), 0) | {"append_time": refreshed}

    def differences() -> list[tuple[int, tuple[str, ...]]]:
        return [(one.customers, one.differences) for one in compare_segments(open_warehouse(settings), settings, days)]

    days = [FIRST, SECOND]
    write_lake(settings, [], batches=[batch(0, days)])
    bought(settings, FIRST, *"ABCDE")
    selected = ("--select", "+customer_rfm_snapshot", "--indirect-selection", "cautious", *NO_UNIT_TESTS)
    assert dbt.run(settings, "build", [FIRST], *selected) == (True, {})
    assert differences() == [(0, ()), (0, ())]
    live: list[Row] = [told("A", "new"), told("C", "loyal"), told("D", "hibernating"), told("E", "cant_lose")]
    # Who buys on the day itself may have done so before the midnight was taken in.
    bought(settings, SECOND, "D")
    replace_day(settings, CUSTOMER_SEGMENTS.silver_table, SECOND, live)
    load(settings, [SECOND])
    assert dbt.run(settings, "build", [SECOND], *selected) == (True, {})
    assert differences() == [(0, ()), (3, ())]
    replace_day(settings, CUSTOMER_SEGMENTS.silver_table, SECOND, [*live, told("B", "at_risk")])
    load(settings, [SECOND])
    assert differences() == [(0, ()), (4, ("B is at_risk live and new in customer_rfm",))]
