{{ config(materialized="table") }}

-- What reactions/segments/customers.py decides live, for everybody as of the day after the last that was loaded, on which the
-- shop may have been shut. A purchase in a currency without a rate counts in neither; the day's check names the currency.
with
loaded as (
    select business_date from {{ ref("fct_orders") }}
    union all
    select business_date from {{ source("raw", "loads") }} where table_name = 'silver/transaction_lines'
),

today as (
    select cast({{ dbt.dateadd("day", 1, "max(business_date)") }} as date) as as_of from loaded
),

window_of_purchases as (
    select
        orders.customer_id,
        orders.revenue_usd_exact,
        today.as_of,
        case when orders.event_type = 'sale' then orders.business_date end as sold_on
    from {{ ref("fct_orders") }} as orders
    cross join today
    where orders.customer_id is not null
        and orders.revenue_usd_exact is not null
        and orders.business_date > {{ dbt.dateadd("day", -365, "today.as_of") }}
),

customers as (
    select
        customer_id,
        as_of,
        cast({{ dbt.datediff("max(sold_on)", "as_of", "day") }} as bigint) as recency_days,
        cast(count(sold_on) as bigint) as orders,
        {{ exact_sum("revenue_usd_exact") }} as revenue_usd_exact
    from window_of_purchases
    group by customer_id, as_of
    having count(sold_on) > 0
),

scored as (
    select
        customers.*,
        cast(6 - ntile(5) over (order by recency_days, customer_id) as integer) as recency_score,
        cast(ntile(5) over (order by orders, customer_id) as integer) as frequency_score,
        cast(ntile(5) over (order by revenue_usd_exact, customer_id) as integer) as monetary_score
    from customers
)

select
    customer_id,
    as_of,
    recency_days,
    orders,
    revenue_usd_exact,
    {{ cents("revenue_usd_exact") }} as revenue_usd,
    recency_score,
    frequency_score,
    monetary_score,
    case
        when frequency_score >= 4 and monetary_score >= 4 and recency_score >= 4 then 'champions'
        when frequency_score >= 4 and monetary_score >= 4 and recency_score < 3 then 'cant_lose'
        when frequency_score >= 3 and recency_score >= 3 then 'loyal'
        when frequency_score >= 3 then 'at_risk'
        when recency_score >= 4 then 'new'
        when recency_score >= 3 then 'needs_attention'
        else 'hibernating'
    end as segment
from scored
