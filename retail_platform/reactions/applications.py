"""The applications that carry the reactions: each a process, or several that share its work."""

from __future__ import annotations

from dataclasses import dataclass

from retail_platform.contracts.inventory import INVENTORY
from retail_platform.contracts.model import TopicContract
from retail_platform.contracts.reactions import (
    CUSTOMER_REFRESHES,
    CUSTOMER_SEGMENTS,
    FRAUD_ALERTS,
    FRAUD_LABELS,
    LIVE_METRICS,
    PRICE_REVIEWS,
    PRICE_ROLLBACKS,
    PRICE_UPDATES,
    REORDER_RELEASES,
    REORDER_REQUESTS,
    STOCK_LEVELS,
)
from retail_platform.contracts.transactions import TRANSACTIONS
from retail_platform.errors import RetailError
from retail_platform.settings import Settings


@dataclass(frozen=True, slots=True)
class ReactionApplication:
    """One application: its name is that of its stream, its consumer group and its state.

    ``writes``: its topics. ``reads``: those of the shops. ``hears``: the topics by which it is told something besides.
    ``steps``: what its own topics are called, between two of its steps; :func:`step_topic` has their names in Kafka.
    """

    name: str
    does: str
    writes: tuple[TopicContract, ...]
    hears: tuple[TopicContract, ...] = ()
    reads: tuple[TopicContract, ...] = (TRANSACTIONS,)
    steps: tuple[str, ...] = ()


REACTIONS = ReactionApplication(
    "reactions",
    "fraud alerts, stock levels and reorder requests within a second of an event",
    writes=(FRAUD_ALERTS, STOCK_LEVELS, REORDER_REQUESTS),
    hears=(FRAUD_LABELS, REORDER_RELEASES),
    reads=(TRANSACTIONS, INVENTORY),
    steps=("fraud-by-card", "stock-changes", "fraud-by-store", "requests-by-store"),
)

#: Apart, because each sale touches some fifteen of its cells: an alert must not wait behind them.
METRICS = ReactionApplication(
    "metrics", "live metrics of sales, cell by cell", writes=(LIVE_METRICS,), steps=("metrics-by-slice",)
)

#: Apart, because every night all customers are decided again: neither an alert nor a metric waits for that.
MARKETING = ReactionApplication(
    "marketing",
    "customer segments by recency, frequency and value, and prices of products",
    writes=(CUSTOMER_SEGMENTS, PRICE_UPDATES),
    hears=(CUSTOMER_REFRESHES, STOCK_LEVELS, PRICE_REVIEWS, PRICE_ROLLBACKS),
    steps=("customer-changes", "price-changes"),
)

APPLICATIONS = (REACTIONS, METRICS, MARKETING)


def shop_topics(settings: Settings, which: ReactionApplication) -> tuple[TopicContract, ...]:
    """The topics of the shops that the application reads, by the names that the settings give them."""
    read = {contract.silver_name for contract in which.reads}
    return tuple(contract for contract in settings.source_topics if contract.silver_name in read)


def consumer_group(settings: Settings, which: ReactionApplication) -> str:
    """The application's consumer group in Kafka."""
    return f"{settings.reactions_group}-{which.name}"


def step_topic(settings: Settings, step: str) -> str:
    """The topic of one of an application's ``steps``: of its consumer group's name, as the state is."""
    return f"{settings.reactions_group}-{step}"


def application_named(name: str) -> ReactionApplication:
    """The application of that name.

    Raises:
        RetailError: there is none.
    """
    for one in APPLICATIONS:
        if one.name == name:
            return one
    raise RetailError(f"there is no application {name}; there are {', '.join(one.name for one in APPLICATIONS)}")
