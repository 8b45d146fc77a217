-- Regions, categories and hours are parts of the day: their revenue adds up to the day's exactly, and each order is in
-- one region and one hour.
with
parts as (
    select 'region' as part, business_date, orders, revenue_usd_exact from {{ ref("agg_daily_sales_by_region") }}
    union all
    select 'hour' as part, business_date, orders, revenue_usd_exact from {{ ref("agg_hourly_orders") }}
    union all
    -- An order has several categories: its orders do not add up.
    select 'category' as part, business_date, null as orders, revenue_usd_exact
    from {{ ref("agg_daily_sales_by_category") }}
),

summed as (
    select part, business_date, sum(orders) as orders, {{ exact_sum("revenue_usd_exact") }} as revenue_usd_exact
    from parts
    where {{ in_business_window() }}
    group by part, business_date
),

kinds as (
    select 'region' as part union all select 'hour' as part union all select 'category' as part
)

select kinds.part, days.business_date, days.orders, summed.orders as summed_orders,
    days.revenue_usd_exact, summed.revenue_usd_exact as summed_revenue_usd_exact
from {{ ref("agg_daily_kpis") }} as days
cross join kinds
left join summed on days.business_date = summed.business_date and kinds.part = summed.part
where {{ in_business_window("days.business_date") }}
    and (
        summed.business_date is null
        or coalesce(summed.orders, days.orders) <> days.orders
        or coalesce(summed.revenue_usd_exact, 0) <> coalesce(days.revenue_usd_exact, 0)
    )
