{{ config(materialized="incremental", incremental_strategy="business_window") }}

with
events as (
    select
        event_id,
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
        currency,
        cast(count(*) as bigint) as order_lines,
        cast(sum(units) as bigint) as units,
        {{ exact_sum("revenue_usd_exact") }} as revenue_usd_exact
    from {{ ref("fct_order_lines") }}
    where {{ in_business_window() }}
    group by
        event_id, event_type, transaction_id, business_date, event_time, channel, store_id, customer_id,
        payment_method, country, region, currency
)

select events.*, {{ cents("revenue_usd_exact") }} as revenue_usd
from events
