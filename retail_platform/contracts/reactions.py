"""The contracts of what the reactions say within a second of an event, and of the verdicts that they learn from."""

from retail_platform.contracts.model import Amount, Enumeration, Field, Instant, Text, TopicContract, Uuid

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
        Field("score", Amount("0", "1"), "Probability of fraud, from all rules out of shadow that hit the purchase."),
        Field("severity", Enumeration(("low", "medium", "high")), "How urgent it is, from the score."),
        Field("shadow", Enumeration(("yes", "no")), "Yes: the rule is on trial; measure the alert, do not act on it."),
        Field("evidence", Text(_LONGEST_EVIDENCE), "The rule's inputs and thresholds, a JSON object as text."),
    ),
    silver_name="fraud_alerts",
    silver_grain="one alert of one rule for one purchase",
    silver_description="Every fraud alert exactly once, those of rules on trial too: what the rules are measured by.",
)
