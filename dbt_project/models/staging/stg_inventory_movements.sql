select
    event_id,
    event_time,
    business_date,
    store_id,
    product_id,
    movement,
    quantity,
    reference
from {{ source("raw", "inventory_movements") }}
