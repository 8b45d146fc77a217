{{ config(materialized="incremental", incremental_strategy="business_window") }}

select
    event_id,
    line_number,
    event_type,
    transaction_id,
    business_date,
    event_time,
    channel,
    store_id,
    customer_id,
    payment_method,
    country,
    region,
    product_id,
    category,
    units,
    currency,
    unit_price,
    discount,
    net_amount,
    usd_per_unit,
    revenue_usd_exact
from {{ ref("int_order_lines_usd") }}
where {{ in_business_window() }}
