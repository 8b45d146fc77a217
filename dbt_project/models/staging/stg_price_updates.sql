select
    event_id,
    event_time,
    product_id,
    sequence,
    status,
    price,
    current_price,
    effective_price,
    floor,
    ceiling,
    reason,
    parameters_version,
    evidence,
    business_date,
    append_time
from {{ source("raw", "price_updates") }}
