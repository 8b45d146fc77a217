"""The contract of ``inventory-movements``: what changes a store's stock other than a sale."""

from retail_platform.contracts.model import (
    Enumeration,
    Field,
    Instant,
    Integer,
    Rule,
    Text,
    TopicContract,
    Uuid,
)

INVENTORY = TopicContract(
    topic="inventory-movements",
    schema="retail.inventory.v1",
    title="Inventory movements",
    description="A receipt, transfer, adjustment, shrinkage or count of one product in one store.",
    message_key="store_id:product_id",
    owner="supply-chain",
    fields=(
        Field("event_id", Uuid(), "Idempotency key: a movement delivered twice counts once."),
        Field("event_time", Instant(), "When the stock changed or was counted (UTC)."),
        Field("store_id", Text(100), "Store whose stock moved."),
        Field("product_id", Text(100), "Product that moved."),
        Field(
            "movement",
            Enumeration(("receipt", "adjustment", "shrinkage", "transfer_in", "transfer_out", "count")),
            "Why the stock changed; a count replaces the running stock as of its event_time.",
        ),
        Field(
            "quantity",
            Integer(-10_000_000, 10_000_000),
            "Signed change in units; for a count, the units that were counted.",
        ),
        Field("reference", Text(200), "Delivery note, transfer or invoice it belongs to.", required=False),
    ),
    rules=(Rule("range:quantity", "{movement} = 'count' and {quantity} < 0", "A count is not negative."),),
    silver_name="inventory_movements",
    silver_grain="one valid stock movement",
    silver_description="Every valid stock movement exactly once: with the sales, what the stock levels are made of.",
)
