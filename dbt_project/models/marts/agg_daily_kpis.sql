{{ config(materialized="incremental", incremental_strategy="business_window") }}

with
days as (
    select
        business_date,
        cast(count(case when event_type = 'sale' then 1 end) as bigint) as orders,
        cast(count(case when event_type = 'return' then 1 end) as bigint) as returns,
        cast(sum(units) as bigint) as units,
        cast(count(distinct customer_id) as bigint) as customers,
        {{ exact_sum("revenue_usd_exact") }} as revenue_usd_exact
    from {{ ref("fct_orders") }}
    where {{ in_business_window() }}
    group by business_date
),

latencies as (
    select business_date, cast(round(median(latency_ms), 0) as bigint) as streaming_latency_ms
    from {{ ref("int_event_latency") }}
    where {{ in_business_window() }}
    group by business_date
),

averaged as (
    select
        days.*,
        case when orders > 0 then cast(revenue_usd_exact / orders as decimal(18, 2)) end as approximate_average
    from days
)

select
    averaged.business_date,
    averaged.orders,
    averaged.returns,
    averaged.units,
    averaged.customers,
    {{ cents("averaged.revenue_usd_exact") }} as revenue_usd,
    averaged.revenue_usd_exact,
    {{ corrected_cents("averaged.approximate_average", "averaged.revenue_usd_exact", "averaged.orders") }}
        as avg_order_value_usd,
    latencies.streaming_latency_ms
from averaged
left join latencies on averaged.business_date = latencies.business_date
