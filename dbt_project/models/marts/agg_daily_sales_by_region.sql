{{ config(materialized="incremental", incremental_strategy="business_window") }}

with
regions as (
    select
        business_date,
        country,
        region,
        cast(count(case when event_type = 'sale' then 1 end) as bigint) as orders,
        cast(count(case when event_type = 'return' then 1 end) as bigint) as returns,
        cast(sum(units) as bigint) as units,
        {{ exact_sum("revenue_usd_exact") }} as revenue_usd_exact
    from {{ ref("fct_orders") }}
    where {{ in_business_window() }}
    group by business_date, country, region
)

select regions.*, {{ cents("revenue_usd_exact") }} as revenue_usd
from regions
