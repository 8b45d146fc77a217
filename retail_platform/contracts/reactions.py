"""The contracts of what the reactions say within a second of an event, and of what the platform itself tells them."""

from retail_platform.contracts.model import Amount, Enumeration, Field, Instant, Integer, Text, TopicContract, Uuid

_LONGEST_EVIDENCE = 4000

FRAUD_ALERTS = TopicContract(
    topic="fraud-alerts",
    schema="retail.fraud-alert.v1",
    title="Fraud alerts",
    description="A rule found a purchase suspicious, with the inputs and the thresholds that made it say so.",
    message_key="card_token",
    owner="fraud-desk",
    fields=(
        Field("event_id", Uuid(), "The alert's id: the same for a rule and a purchase, however often it is computed."),
        Field("event_time", Instant(), "When the customer paid (UTC)."),
        Field("transaction_event_id", Uuid(), "event_id of the purchase."),
        Field("transaction_id", Text(100), "The retailer's own number of the purchase."),
        Field("card_token", Text(100), "Token of the card; never the card's number."),
        Field("store_id", Text(100), "Store that made the sale."),
        Field("rule", Text(100), "The rule that hit."),
        Field("rule_version", Text(20), "Version of the rule's code."),
        Field("parameter_version", Text(20), "Version of its thresholds."),
        Field(
            "score",
            Amount("0", "1"),
            "Probability of fraud, from all rules of the card out of shadow that hit the purchase; another rule by itself.",
        ),
        Field("severity", Enumeration(("low", "medium", "high")), "How urgent it is, from the score."),
        Field("shadow", Enumeration(("yes", "no")), "Yes: the rule is on trial; measure the alert, do not act on it."),
        Field("evidence", Text(_LONGEST_EVIDENCE), "The rule's inputs and thresholds, a JSON object as text."),
    ),
    silver_name="fraud_alerts",
    silver_grain="one alert of one rule for one purchase",
    silver_description="Every fraud alert exactly once, those of rules on trial too: what the rules are measured by.",
)

FRAUD_LABELS = TopicContract(
    topic="fraud-labels",
    schema="retail.fraud-label.v1",
    title="Fraud labels",
    description="An analyst's verdict on a purchase with a card: fraud, or none; of several on one the last holds.",
    message_key="transaction_event_id",
    owner="fraud-desk",
    fields=(
        Field(
            "event_id", Uuid(), "The label's id: the same for a purchase, a verdict and its moment, however often sent."
        ),
        Field("event_time", Instant(), "When the verdict was given (UTC)."),
        Field("transaction_event_id", Uuid(), "event_id of the purchase."),
        Field("transaction_time", Instant(), "When the customer paid (UTC)."),
        Field("store_id", Text(100), "Store that made the sale."),
        Field("register_id", Text(100), "Till of the sale; null online.", required=False),
        Field("verdict", Enumeration(("confirmed", "dismissed")), "Confirmed: it was fraud. Dismissed: it was not."),
        Field("analyst", Text(100), "Opaque id of whoever gave it; never a name.", required=False),
    ),
    silver_name="fraud_labels",
    silver_grain="one verdict on one purchase",
    silver_description="Every verdict exactly once, those that a later one replaced too: what tells a rule's hits apart.",
)

LIVE_METRICS = TopicContract(
    topic="live-metrics",
    schema="retail.live-metric.v1",
    title="Live metrics",
    description=(
        "How the shop is doing, as it happens: orders, revenue and customers of each minute, hour and day, in all and by "
        "channel, store, region and category; corrected in place when events come late."
    ),
    message_key="metric_key",
    owner="retail-sales",
    compacted=True,
    fields=(
        Field("event_id", Uuid(), "The id of this revision of the cell."),
        Field("event_time", Instant(), "Time of the event that changed the cell (UTC)."),
        Field(
            "metric_key", Text(400), "<grain>:<window start>:<dimension>:<value>; the newest revision of a key holds."
        ),
        Field("grain", Enumeration(("minute", "hour", "day")), "Length of the window."),
        Field("window_start", Instant(), "Start of the window (UTC)."),
        Field("window_end", Instant(), "End of the window, exclusive (UTC)."),
        Field("window_date", Text(10), "Date of the window's start in BUSINESS_TIMEZONE."),
        Field(
            "dimension", Enumeration(("all", "channel", "store", "region", "category")), "What the cell is a part by."
        ),
        Field("dimension_value", Text(200), "Which part; all for the whole."),
        Field("revision", Integer(1), "How many events the cell counts; the highest is its value."),
        Field("orders", Integer(0), "Sales."),
        Field("returns", Integer(0), "Returns."),
        Field("units", Integer(), "Units sold less units returned."),
        Field("customers", Integer(0), "Distinct known customers."),
        Field("customers_method", Enumeration(("exact", "estimated")), "Estimated beyond 256 customers (HyperLogLog)."),
        Field(
            "revenue_usd",
            Amount(),
            "Sales less returns in US dollars, to the cent; null without a rate.",
            required=False,
        ),
        Field("revenue_usd_exact", Text(60), "The same, not rounded, as text; null without a rate.", required=False),
        Field("avg_order_value_usd", Amount(), "Revenue by order; null without orders or a rate.", required=False),
    ),
    silver_name="live_metrics",
    silver_grain="one revision of one cell",
    silver_description="Every value that a live metric took, so that what people saw can be compared with the closed day.",
)

STOCK_LEVELS = TopicContract(
    topic="stock-levels",
    schema="retail.stock-level.v1",
    title="Stock levels",
    description=(
        "What a store has of a product, after every sale, return, movement and count: the last count and all that came "
        "after it, in whatever order it arrived."
    ),
    message_key="store_id:product_id",
    owner="supply-chain",
    compacted=True,
    fields=(
        Field("event_id", Uuid(), "The id of this revision of the level."),
        Field("event_time", Instant(), "Time of the event that was taken in (UTC)."),
        Field("stock_key", Text(201), "store_id:product_id; the newest revision of a key holds."),
        Field("store_id", Text(100), "Store that has the stock."),
        Field("product_id", Text(100), "Product."),
        Field("on_hand", Integer(), "Units in stock; negative when more was sold than was known to be there."),
        Field("change", Integer(), "What the event changed it by; 0 when a later count had seen it already."),
        Field(
            "reason",
            Enumeration(
                ("sale", "return", "receipt", "adjustment", "shrinkage", "transfer_in", "transfer_out", "count")
            ),
            "What happened.",
        ),
        Field("quantity", Integer(), "The event's own units, signed; for a count, what was counted."),
        Field("counted_at", Instant(), "Time of the last count; null before the first.", required=False),
        Field("counted_quantity", Integer(), "What the last count found; null before the first.", required=False),
        Field("revision", Integer(1), "How often the level has changed; the highest is its value."),
        Field("refused_events", Integer(0), "Events of this stock that came too late to be taken in."),
    ),
    silver_name="stock_levels",
    silver_grain="one revision of the stock of one product in one store",
    silver_description="Every value that a stock took, with what changed it: the history behind each shelf.",
)

REORDER_REQUESTS = TopicContract(
    topic="reorder-requests",
    schema="retail.reorder-request.v1",
    title="Reorder requests",
    description="A store needs a product ordered: how much, and the demand, lead time and service level that say so.",
    message_key="request_id",
    owner="supply-chain",
    fields=(
        Field("event_id", Uuid(), "The request's id: the same for a store, product and cycle."),
        Field("event_time", Instant(), "Time of the event that took the stock down (UTC)."),
        Field("request_id", Text(240), "store_id:product_id:cycle."),
        Field("store_id", Text(100), "Store that needs it."),
        Field("product_id", Text(100), "Product."),
        Field("cycle", Integer(1), "Number of the order for this store and product."),
        Field(
            "status",
            Enumeration(("requested", "held", "released")),
            "Held: over the store's daily limit, until a person releases it.",
        ),
        Field("quantity", Integer(1), "Units to order."),
        Field("position", Integer(), "On hand + on order − backorders, in units."),
        Field("on_hand", Integer(0), "Units in the store."),
        Field("backorders", Integer(0), "Units sold beyond them."),
        Field("reorder_point", Amount(), "Units at or below which the position makes an order due."),
        Field("safety_stock", Amount(), "Units of it that are kept against variation."),
        Field("economic_quantity", Amount(), "Units that cost least to order and keep (EOQ)."),
        Field("demand_mean", Amount(), "Units a day."),
        Field("demand_deviation", Amount(), "Standard deviation of the units a day."),
        Field("demand_method", Enumeration(("mean", "sba")), "SBA: demand is intermittent."),
        Field("parameters_version", Text(40), "Version of the policy."),
        Field("evidence", Text(_LONGEST_EVIDENCE), "The other inputs, a JSON object as text."),
    ),
    silver_name="reorder_requests",
    silver_grain="one request of one store and product",
    silver_description="Every reorder request exactly once, with what it was decided on.",
)

SEGMENTS = ("champions", "loyal", "new", "needs_attention", "at_risk", "cant_lose", "hibernating")

CUSTOMER_SEGMENTS = TopicContract(
    topic="customer-segments",
    schema="retail.customer-segment.v1",
    title="Customer segments",
    description=(
        "A customer has moved to another segment, by recency, frequency and monetary value of the last 365 days: within a "
        "second of the purchase that did it, or after midnight when time did."
    ),
    message_key="customer_id",
    owner="retail-sales",
    compacted=True,
    fields=(
        Field("event_id", Uuid(), "The id of this revision of the customer's segment."),
        Field("event_time", Instant(), "Time of the purchase, or the midnight, that changed it (UTC)."),
        Field("customer_id", Text(100), "Loyalty or account number."),
        Field("as_of", Text(10), "The business date that recency is counted to."),
        Field("segment", Enumeration(SEGMENTS), "Where the customer is now."),
        Field(
            "previous_segment", Enumeration(SEGMENTS), "Where the customer was; null the first time.", required=False
        ),
        Field("revision", Integer(1), "How often the segment has changed; the highest is the customer's."),
        Field("recency_days", Integer(0), "Days since the last sale; null without one in the window.", required=False),
        Field("orders", Integer(1), "Sales in the window; null likewise.", required=False),
        Field("revenue_usd", Amount(), "Sales less returns in the window, to the cent; null likewise.", required=False),
        Field("recency_score", Integer(1, 5), "Fifth of all customers, 5 the latest; null likewise.", required=False),
        Field("frequency_score", Integer(1, 5), "Fifth, 5 the most sales; null likewise.", required=False),
        Field("monetary_score", Integer(1, 5), "Fifth, 5 the most revenue; null likewise.", required=False),
        Field("cutoffs_version", Text(40), "Version of the nightly cut-offs: their date and a digest of them."),
        Field("parameters_version", Text(40), "Version of the rule."),
        Field("evidence", Text(_LONGEST_EVIDENCE), "The unrounded revenue, a JSON object as text."),
    ),
    silver_name="customer_segments",
    silver_grain="one change of one customer's segment",
    silver_description="Every change of a customer's segment exactly once, with the scores behind it.",
)

CUSTOMER_REFRESHES = TopicContract(
    topic="customer-refreshes",
    schema="retail.customer-refresh.v1",
    title="Customer refreshes",
    description="Time has passed and the cut-offs are new: decide this customer's segment again as of this midnight.",
    message_key="customer_id",
    owner="retail-sales",
    retention_days=2,
    fields=(
        Field("event_id", Uuid(), "The same for a customer and a midnight."),
        Field("event_time", Instant(), "The midnight in BUSINESS_TIMEZONE with which the cut-offs' date begins (UTC)."),
        Field("customer_id", Text(100), "Loyalty or account number."),
    ),
    silver_name="customer_refreshes",
    silver_grain="one request to decide a customer's segment again",
    silver_description="Every request to decide a customer's segment again.",
)

PRICE_UPDATES = TopicContract(
    topic="price-updates",
    schema="retail.price-update.v1",
    title="Price updates",
    description=(
        "A product's price was decided: recommended, applied where that is switched on, rolled back, or withheld with the "
        "reason; the same for everybody, within floor and ceiling."
    ),
    message_key="product_id",
    owner="retail-sales",
    fields=(
        Field("event_id", Uuid(), "The id of this update of the product."),
        Field("event_time", Instant(), "When it was decided (UTC)."),
        Field("product_id", Text(100), "Product."),
        Field("sequence", Integer(1), "How many updates the product had; the highest holds."),
        Field(
            "status",
            Enumeration(("recommended", "applied", "rolled_back", "withheld")),
            "Recommended: a person decides. Applied, rolled back: the price is in effect. Withheld: it stays.",
        ),
        Field("price", Amount("0"), "What was decided, in US dollars; null when withheld.", required=False),
        Field("current_price", Amount("0"), "The price before, in US dollars."),
        Field("effective_price", Amount("0"), "The price in effect from now on, in US dollars."),
        Field("floor", Amount("0"), "Least that a new price may be: cost and margin, or the advertised minimum."),
        Field("ceiling", Amount("0"), "Most that a new price may be, in US dollars."),
        Field(
            "reason",
            Enumeration(
                (
                    "optimum",
                    "stock",
                    "sell_by",
                    "rollback",
                    "stale_demand",
                    "no_whole_day",
                    "stale_stock",
                    "too_soon",
                    "after_rollback",
                    "past_sell_by",
                    "limits",
                    "nothing_to_roll_back",
                )
            ),
            "What decided the price, or why it was withheld.",
        ),
        Field("parameters_version", Text(40), "Version of the rule's parameters."),
        Field("evidence", Text(_LONGEST_EVIDENCE), "Target, elasticity, demand and stock, a JSON object as text."),
    ),
    silver_name="price_updates",
    silver_grain="one decision on the price of one product",
    silver_description="Every decision on a price exactly once: the audit of what was set, by what, and why not.",
)

PRICE_REVIEWS = TopicContract(
    topic="price-reviews",
    schema="retail.price-review.v1",
    title="Price reviews",
    description="All sales and stock of before this moment were read: decide this product's price by them.",
    message_key="product_id",
    owner="retail-sales",
    retention_days=2,
    fields=(
        Field("event_id", Uuid(), "The same for a product and a moment."),
        Field("event_time", Instant(), "The moment before which everything was read (UTC)."),
        Field("product_id", Text(100), "Product."),
    ),
    silver_name="price_reviews",
    silver_grain="one review of a product's price",
    silver_description="Every review of a product's price.",
)

PRICE_ROLLBACKS = TopicContract(
    topic="price-rollbacks",
    schema="retail.price-rollback.v1",
    title="Price rollbacks",
    description="Somebody wants the last change of a product's price taken back.",
    message_key="product_id",
    owner="retail-sales",
    fields=(
        Field("event_id", Uuid(), "The rollback's id: sent twice, it is done once."),
        Field("event_time", Instant(), "When it was asked for (UTC)."),
        Field("product_id", Text(100), "Product."),
    ),
    silver_name="price_rollbacks",
    silver_grain="one rollback that was asked for",
    silver_description="Every rollback of a price that was asked for.",
)

REORDER_RELEASES = TopicContract(
    topic="reorder-releases",
    schema="retail.reorder-release.v1",
    title="Reorder releases",
    description="Somebody lets a reorder request through that was held at the store's daily limit.",
    message_key="store_id:product_id",
    owner="supply-chain",
    fields=(
        Field("event_id", Uuid(), "The release's id."),
        Field("event_time", Instant(), "When it was released (UTC)."),
        Field("store_id", Text(100), "Store."),
        Field("product_id", Text(100), "Product."),
        Field("cycle", Integer(1), "Number of the order for this store and product."),
    ),
    silver_name="reorder_releases",
    silver_grain="one release",
    silver_description="Every release of a reorder request that was held.",
)
