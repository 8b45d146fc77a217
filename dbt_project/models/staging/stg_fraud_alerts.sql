select
    event_id,
    event_time,
    transaction_event_id,
    transaction_id,
    card_token,
    store_id,
    rule,
    rule_version,
    parameter_version,
    score,
    severity,
    shadow,
    evidence,
    business_date,
    append_time
from {{ source("raw", "fraud_alerts") }}
