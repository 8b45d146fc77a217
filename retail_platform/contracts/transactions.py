"""The contract of ``retail-transactions``: a sale or a return at a till or in the web shop."""

from retail_platform.contracts.currencies import ISO_4217
from retail_platform.contracts.model import (
    MONEY,
    Amount,
    Degrees,
    Derived,
    Enumeration,
    Field,
    Instant,
    Integer,
    Record,
    Records,
    Rule,
    Text,
    TopicContract,
    Uuid,
)

TRANSACTIONS = TopicContract(
    topic="retail-transactions",
    schema="retail.transaction.v1",
    title="Transactions",
    description="A sale or a return, whole, as the till or the web shop closed it. Money is decimal from end to end.",
    message_key="transaction_id",
    owner="retail-sales",
    fields=(
        Field("event_id", Uuid(), "Idempotency key: an event delivered twice counts once."),
        Field("event_type", Enumeration(("sale", "return")), "Whether goods left the shop or came back."),
        Field("transaction_id", Text(100), "The retailer's own number of the receipt or order."),
        Field(
            "original_transaction_id", Text(100), "For a return: the sale that it reverses, if known.", required=False
        ),
        Field("event_time", Instant(), "When the customer paid or was refunded (UTC)."),
        Field("channel", Enumeration(("pos", "ecommerce")), "Till in a store, or web shop."),
        Field("store_id", Text(100), "Store that made the sale; the web shop is a store of its own."),
        Field(
            "fulfilment_store_id",
            Text(100),
            "Store whose stock an online order takes, when it is picked up there.",
            required=False,
        ),
        Field("register_id", Text(100), "Till within the store.", required=False),
        Field("customer_id", Text(100), "Loyalty or account number, when the customer is known.", required=False),
        Field(
            "payment",
            Record(
                (
                    Field("method", Enumeration(("card", "cash", "wallet", "gift_card")), "How the customer paid."),
                    Field(
                        "card_token",
                        Text(100),
                        "Token of the card; never the card's number.",
                        required=False,
                        column="card_token",
                    ),
                )
            ),
            "How the customer paid.",
        ),
        Field(
            "location",
            Record(
                (
                    Field("country", Text(100), "Country of the sale.", column="country"),
                    Field("region", Text(100), "Sales region within the company.", required=False, column="region"),
                    Field("latitude", Degrees(-90, 90), "Latitude in degrees.", required=False, column="latitude"),
                    Field("longitude", Degrees(-180, 180), "Longitude in degrees.", required=False, column="longitude"),
                )
            ),
            "Where the sale happened.",
        ),
        Field("currency", Enumeration(ISO_4217), "ISO 4217 code of every amount in the event."),
        Field(
            "items",
            Records(
                (
                    Field("product_id", Text(100), "Product or charge that was sold."),
                    Field("description", Text(500), "The product's name on the receipt.", required=False),
                    Field("category", Text(100), "Merchandise category.", required=False),
                    Field("quantity", Integer(1, 10_000_000), "Units sold or returned; always positive."),
                    Field("unit_price", Amount("0", "100000000"), "Price of one unit in the event's currency."),
                    Field(
                        "discount", Amount("0", "100000000000"), "Taken off the line's amount, in the event's currency."
                    ),
                ),
                minimum=1,
                maximum=1000,
            ),
            "The lines of the receipt.",
        ),
    ),
    rules=(
        Rule(
            "range:items.discount",
            "{discount} > {quantity} * {unit_price}",
            "A discount is at most its line's amount.",
            per_line=True,
            surely_kept=(("discount", r"0(\.0{1,4})?"),),
        ),
        Rule(
            "range:items.amount",
            "{quantity} * {unit_price} > 99999999999999.9999",
            "A line's amount does not fit decimal(18,4).",
            per_line=True,
            surely_kept=(("quantity", "[1-9][0-9]{0,4}"),),
        ),
    ),
    derived=(
        Derived(
            "gross_amount",
            MONEY,
            "cast(quantity * unit_price as decimal(18,4))",
            "quantity × unit_price in the event's currency, before the discount; positive for returns too.",
        ),
        Derived(
            "net_amount",
            MONEY,
            "cast(quantity * unit_price - discount as decimal(18,4))",
            "quantity × unit_price − discount in the event's currency; positive for returns too.",
        ),
    ),
    silver_name="transaction_lines",
    silver_grain="one line of a valid transaction",
    silver_description=(
        "Every valid sale and return, line by line, each event exactly once: what the warehouse, the KPIs and every "
        "recomputation start from. The header's columns repeat on each line."
    ),
)
