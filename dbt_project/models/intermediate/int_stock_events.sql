-- What changes a stock, from sales, returns and movements: a receipt's lines of one product are one change, of the store that
-- an online order is picked up in.
select event_id, event_time, business_date, store_id, product_id, movement as reason, quantity, append_time
from {{ ref("stg_inventory_movements") }}
union all
select
    event_id,
    event_time,
    business_date,
    coalesce(fulfilment_store_id, store_id) as store_id,
    product_id,
    event_type as reason,
    -sum(direction * quantity) as quantity,
    append_time
from {{ ref("stg_transaction_lines") }}
group by
    event_id, event_time, business_date, coalesce(fulfilment_store_id, store_id), product_id, event_type, append_time
