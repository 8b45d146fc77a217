"""What the rules say over events that are all there, one after the other: what the streams are compared with.

The states are kept in memory, as they are and never packed; the rules are the very functions that the streams call. The
order is that of the events: where two orders give two answers, the caller says which one the stream has seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

from retail_platform.reactions.events import Transaction
from retail_platform.reactions.fraud import cards, stores, tills
from retail_platform.reactions.fraud.alerts import Alert
from retail_platform.reactions.fraud.labels import Label
from retail_platform.reactions.fraud.model import Model
from retail_platform.reactions.fraud.state import State as CardState
from retail_platform.reactions.metrics.rates import Money
from retail_platform.reactions.prices import live
from retail_platform.reactions.prices.rule import Parameters as PriceParameters
from retail_platform.reactions.prices.rule import PriceUpdate
from retail_platform.reactions.prices.terms import Listed
from retail_platform.reactions.segments import customers
from retail_platform.reactions.segments.quintiles import Cutoffs
from retail_platform.reactions.stock import daily_limit, levels, reorder

_Event = TypeVar("_Event")
_State = TypeVar("_State")
_Output = TypeVar("_Output")


def card_alerts(sales: Iterable[Transaction], money: Money) -> Iterator[Alert]:
    """The alerts of the rules of a card, over transactions."""
    return _stepped(
        sales,
        lambda sale: sale.card_token or "",
        CardState,
        lambda state, sale: cards.step(state, sale, money.usd(sale)),
    )


def to_stores(events: Iterable[Transaction | Label], money: Money) -> Iterator[tills.TillPurchase | Label]:
    """The card purchases as they go to their stores, with what is known of the card, each once; verdicts as they are."""
    of_cards: dict[str, tills.CustomerState] = {}
    for event in events:
        going = event if isinstance(event, Label) else tills.from_transaction(event, money.usd(event))
        if isinstance(going, tills.TillPurchase):
            card = going.purchase.card_token
            of_cards[card], going = tills.of_card(of_cards.get(card) or tills.CustomerState(), going)
        if going is not None:
            yield going


def store_alerts(events: Iterable[tills.TillPurchase | Label]) -> Iterator[Alert]:
    """The alerts of risky stores, over what :func:`to_stores` gives."""
    known = (event if isinstance(event, Label) else event.purchase for event in events)
    return _stepped(known, lambda event: event.store_id, stores.Counts, stores.step)


def till_alerts(events: Iterable[tills.TillPurchase | Label], model: Model | None) -> Iterator[Alert]:
    """The model's alerts, over what :func:`to_stores` gives."""
    return _stepped(events, tills.key_of, tills.Counts, lambda counts, event: tills.step(counts, event, model))


def stock_levels(changes: Iterable[levels.StockEvent]) -> Iterator[levels.StockLevel]:
    """The stock after each change of it."""
    return _stepped(changes, lambda change: change.key, levels.State, levels.step)


def needs(
    found: Iterable[levels.StockLevel], policy_of: Callable[[str], reorder.Parameters]
) -> Iterator[reorder.ReorderRequest]:
    """The requests to order that stock levels make due by the policy of the product, on their way to their stores."""
    return _stepped(
        found,
        lambda level: f"{level.store_id}:{level.product_id}",
        reorder.State,
        lambda state, level: reorder.step(state, level, policy_of(level.product_id)),
    )


def reorder_requests(
    wanted: Iterable[reorder.ReorderRequest], limit: daily_limit.Parameters
) -> Iterator[reorder.ReorderRequest]:
    """What :func:`needs` gives, passed or held by the daily limit of the store."""
    return _stepped(
        wanted,
        lambda request: request.store_id,
        daily_limit.State,
        lambda state, request: daily_limit.step(state, request, limit),
    )


def segment_changes(
    events: Iterable[customers.Purchase | customers.Refresh], cutoffs: Cutoffs | None, parameters: customers.Parameters
) -> Iterator[customers.SegmentChange]:
    """The changes of segment, over purchases and midnights, where the cut-offs were the same all the while."""
    return _stepped(
        events,
        lambda event: event.customer_id,
        customers.State,
        lambda state, event: customers.step(state, event, cutoffs, parameters),
    )


def price_updates(
    events: Iterable[live.Happened], terms: Mapping[str, Listed], parameters: PriceParameters
) -> Iterator[PriceUpdate]:
    """The decisions on the prices of products that have terms, over sales, stock levels and rollbacks; none is set."""
    return _stepped(
        (event for event in events if event.product_id in terms),
        lambda event: event.product_id,
        live.State,
        lambda state, event: live.step(state, event, terms[event.product_id].terms, parameters, reviews=True),
    )


def _stepped(
    events: Iterable[_Event],
    key: Callable[[_Event], str],
    empty: Callable[[], _State],
    step: Callable[[_State, _Event], tuple[_State, tuple[_Output, ...]]],
) -> Iterator[_Output]:
    states: dict[str, _State] = {}
    for event in events:
        name = key(event)
        states[name], outputs = step(states[name] if name in states else empty(), event)
        yield from outputs
