{{ config(materialized="table") }}

with
customers as (
    select
        customer_id,
        min(business_date) as first_seen_on,
        max(business_date) as last_seen_on,
        cast(count(distinct case when event_type = 'sale' then event_id end) as bigint) as orders,
        cast(count(distinct case when event_type = 'return' then event_id end) as bigint) as returns
    from {{ ref("stg_transaction_lines") }}
    where customer_id is not null
    group by customer_id
),

last_events as (
    select customer_id, country, region
    from {{ ref("stg_transaction_lines") }}
    where customer_id is not null
    qualify row_number() over (partition by customer_id order by event_time desc, event_id desc, line_number desc) = 1
)

select
    customers.customer_id,
    last_events.country,
    last_events.region,
    customers.first_seen_on,
    customers.last_seen_on,
    customers.orders,
    customers.returns
from customers
left join last_events on customers.customer_id = last_events.customer_id
