select
    labels.event_id,
    labels.event_time,
    labels.transaction_event_id,
    labels.transaction_time,
    labels.store_id,
    labels.register_id,
    labels.verdict,
    labels.analyst,
    labels.business_date,
    labels.append_time,
    labels.offset as kafka_offset
from {{ source("raw", "fraud_labels") }} as labels
