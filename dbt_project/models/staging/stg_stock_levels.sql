select
    event_id,
    event_time,
    stock_key,
    store_id,
    product_id,
    on_hand,
    change,
    reason,
    quantity,
    counted_at,
    counted_quantity,
    revision,
    refused_events,
    business_date,
    append_time
from {{ source("raw", "stock_levels") }}
