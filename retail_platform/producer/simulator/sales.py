"""Sales at the tills and in the web shop, and the returns of them. Amounts are whole cents until they are written."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from retail_platform.producer.message import Event
from retail_platform.producer.simulator.catalogue import Product, promotions
from retail_platform.producer.simulator.customers import Customer, new_card
from retail_platform.producer.simulator.draw import weighted
from retail_platform.producer.simulator.retailer import Books, Retailer
from retail_platform.producer.simulator.stock import sold
from retail_platform.producer.simulator.stores import Store

_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS
_KNOWN_AT_TILL = 0.65
_TRAVELLER = 0.03
# Who has shopped comes back another day, now and then once more within hours; so no card buys dozens of times a day, however
# much is traded.
_AGAIN_TODAY = 0.1
_HOURS_TODAY = (0.2, 6.0)
_HOURS_UNTIL_ANOTHER_DAY = (16.0, 32.0)
_PICKED_UP = 0.25
_WHOLE_RETURN = 0.5
_ADDITIONAL_LINES = 1.4
_MOST_LINES = 25

_TILL_PAYMENTS = weighted([("card", 62), ("cash", 22), ("wallet", 12), ("gift_card", 4)])
_WEB_PAYMENTS = weighted([("card", 68), ("wallet", 27), ("gift_card", 5)])
_QUANTITIES = weighted([(1, 78), (2, 14), (3, 4), (4, 2), (6, 1), (12, 1)])


def sale(retailer: Retailer, books: Books, store: Store, milliseconds: int) -> Event:
    """A sale of the store, without its id and time; it takes stock and may be returned later."""
    random = books.random
    drawn = _shopper(retailer, store, random)
    home = drawn.home if store.web and drawn else store
    # Who was here too lately stays away; somebody unknown of the same place comes instead.
    customer = drawn if drawn and _comes_again(books, drawn, milliseconds) else None
    items = basket(retailer, books, home.currency, milliseconds)
    method = (_WEB_PAYMENTS if store.web else _TILL_PAYMENTS).draw(random)
    payment: Event = {"method": method}
    if method in ("card", "wallet"):
        payment["card_token"] = customer.card if customer else new_card(random)
    body = receipt(books, store, home, customer, payment, items)
    if store.web and random.random() < _PICKED_UP:
        body["fulfilment_store_id"] = home.id
    for item in items:
        sold(books, str(body.get("fulfilment_store_id", store.id)), str(item["product_id"]), int(str(item["quantity"])))
    books.recent[store.id].append(body)
    return body


def refund(books: Books, store: Store) -> Event | None:
    """The return of an earlier sale of the store, whole or one line of it; ``None`` when there is none to return."""
    sales = books.recent[store.id]
    if not sales:
        return None
    random = books.random
    chosen = random.randrange(len(sales))
    original = sales[chosen]
    del sales[chosen]
    items = original["items"]
    if isinstance(items, list) and random.random() > _WHOLE_RETURN:
        items = [random.choice(items)]
    body = original | {
        "event_type": "return",
        "transaction_id": f"{store.id}-{books.next_number()}",
        "original_transaction_id": original["transaction_id"],
        "items": items,
    }
    body.pop("fulfilment_store_id", None)
    return body


def receipt(
    books: Books, store: Store, home: Store, customer: Customer | None, payment: Event, items: Sequence[Event]
) -> Event:
    """A sale's body: made in ``store``, in the currency and place of ``home``, which differs for the web shop only."""
    body: Event = {
        "event_type": "sale",
        "transaction_id": f"{store.id}-{books.next_number()}",
        "channel": "ecommerce" if store.web else "pos",
        "store_id": store.id,
    }
    if not store.web:
        body["register_id"] = f"{store.id}-R{books.random.randrange(store.tills) + 1:02d}"
    if customer:
        body["customer_id"] = customer.id
    body["payment"] = payment
    body["location"] = {"country": home.country, "region": home.region} if store.web else home.location
    body["currency"] = home.currency
    body["items"] = items
    return body


def basket(retailer: Retailer, books: Books, currency: str, milliseconds: int) -> list[Event]:
    """The lines of an ordinary purchase, with the day's promotions taken off."""
    random = books.random
    offers = _promotions(retailer, books, milliseconds // _DAY_MS)
    count = min(_MOST_LINES, 1 + int(random.expovariate(1 / _ADDITIONAL_LINES)))
    demand = retailer.catalogue.by_demand
    return [line(demand.draw(random), _QUANTITIES.draw(random), currency, offers) for _ in range(count)]


def line(product: Product, quantity: int, currency: str, offers: dict[str, int]) -> Event:
    """One line of a receipt; a product on offer is discounted, rounded down to the cent."""
    price = product.prices[currency]
    percent_off = offers.get(product.id)
    return {
        "product_id": product.id,
        "description": product.name,
        "category": product.category,
        "quantity": quantity,
        "unit_price": money(price),
        "discount": money(price * quantity * percent_off // 100) if percent_off else "0.00",
    }


def money(cents: int) -> str:
    """Cents as an exact decimal string."""
    return f"{cents // 100}.{cents % 100:02d}"


def _comes_again(books: Books, customer: Customer, milliseconds: int) -> bool:
    """Whether the customer may shop now; then it is written down from when on they may again."""
    if milliseconds < books.rested.get(customer.id, 0.0):
        return False
    again_today = books.random.random() < _AGAIN_TODAY
    hours = books.random.uniform(*(_HOURS_TODAY if again_today else _HOURS_UNTIL_ANOTHER_DAY))
    books.rested[customer.id] = milliseconds + hours * _HOUR_MS
    return True


def _shopper(retailer: Retailer, store: Store, random: Random) -> Customer | None:
    """Who buys: the web shop knows everyone, a till most of its regulars, now and then one from elsewhere."""
    customers = retailer.customers
    if store.web:
        return customers.online.draw(random)
    drawn = random.random()
    if drawn < _TRAVELLER:
        return random.choice(customers.everyone)
    regulars = customers.in_store.get(store.id)
    return regulars.draw(random) if regulars and drawn < _KNOWN_AT_TILL else None


def _promotions(retailer: Retailer, books: Books, day: int) -> dict[str, int]:
    if day not in books.promotions:
        books.promotions[day] = promotions(retailer.catalogue, Random(f"{books.run}:{day}:promotions"))
    return books.promotions[day]
