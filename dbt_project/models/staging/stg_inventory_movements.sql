select
    event_id,
    event_time,
    business_date,
    store_id,
    product_id,
    movement,
    quantity,
    reference,
    append_time
from {{ source("raw", "inventory_movements") }}
