"""The reactions beside the demo: their own processes on a real broker, and the first that each topic says."""

from __future__ import annotations

import uuid

import pytest
from rich.text import Text

from retail_platform.cli.first_reactions import reacting
from retail_platform.contracts import STOCK_LEVELS
from retail_platform.errors import RetailError
from retail_platform.reactions.applications import MARKETING, REACTIONS
from retail_platform.settings import Settings
from retail_platform_tests.environment import environment
from retail_platform_tests.ingest.running import deliver, message
from retail_platform_tests.reactions.planted import LONDON, NEW_YORK, TERMS, bought, count_of, publish_customers
from retail_platform_tests.reactions.running import said, until

_DAYS = 20


@pytest.fixture
def shown(reactions_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings, in the environment too, as the demo has them: its applications read them there."""
    for name, value in environment(reactions_settings).items():
        monkeypatch.setenv(name, value)
    return reactions_settings


def test_the_first_of_each_is_a_line_about_what_was_sold(shown: Settings) -> None:
    mark = uuid.uuid4().hex[:8]
    card, customer, store = f"tok-{mark}", f"C-{mark}", f"S-{mark}"
    # Of its own: what is in stock of P1 is part of what other tests' prices rest on, and stays in the topic.
    product = f"P-{mark}"
    with shown.price_terms_file.open("a") as terms:
        terms.write(f"{product},{TERMS.unit_cost},{TERMS.list_price},,,,,no\n")
    items = [{"product_id": product, "quantity": 2, "unit_price": "10.10", "discount": "0.20"}]
    of = {"store_id": store, "customer_id": customer, "items": items}
    daily = [bought(card, LONDON, 0, days_ago=day, **of) for day in range(_DAYS, 0, -1)]
    sold = [*daily, bought(card, LONDON, 1, **of), bought(card, NEW_YORK, 20, **of)]
    publish_customers(shown, {customer})
    with reacting(shown) as running:
        # Sold before it was counted, the stock would be out on all those days, and no day of demand.
        deliver(shown, [count_of(store, daily[0]["event_time"], 2 * len(sold), product)])

        def counted() -> bool:
            return any(row["stock_key"] == f"{store}:{product}" for row in said(shown, STOCK_LEVELS))

        until(running.processes[REACTIONS.name], "the count", counted)
        deliver(shown, [message(event, card) for event in sold])
        lines = [Text.from_markup(line).plain for line in running.first_lines()]
        processes = running.processes.values()
    assert [process.returncode for process in processes] == [0, 0]
    alert, request, price, change = lines
    assert alert.startswith("The first alert: ")
    assert f"impossible_travel card {card}, store {store}" in alert
    assert request.startswith("The first reorder request: ")
    assert f"store {store}, {product}: order " in request
    assert price.startswith("The first decision on a price: ")
    # Its first sale is of twenty days ago.
    assert f"withheld    {product} 12.99 USD (stale_demand, allowed 6.67 to 16.23)" in price
    assert change.startswith("The first change of segment: ")
    assert f"customer {customer} nobody → " in change


def test_an_application_that_ends_is_named_with_its_log(shown: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRICE_TERMS_FILE", str(shown.retail_home / "none.csv"))
    log = shown.logs_dir / f"{MARKETING.name}.log"
    with reacting(shown) as running:
        running.processes[MARKETING.name].wait(60)
        with pytest.raises(RetailError, match=f"the application marketing ended; see {log}"):
            running.first_lines()
    assert "PRICE_TERMS_FILE" in log.read_text()
