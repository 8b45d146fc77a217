{{ config(materialized="incremental", incremental_strategy="business_window") }}

with
categories as (
    select
        business_date,
        category,
        cast(count(distinct case when event_type = 'sale' then event_id end) as bigint) as orders,
        cast(sum(units) as bigint) as units,
        {{ exact_sum("revenue_usd_exact") }} as revenue_usd_exact
    from {{ ref("fct_order_lines") }}
    where {{ in_business_window() }}
    group by business_date, category
)

select categories.*, {{ cents("revenue_usd_exact") }} as revenue_usd
from categories
