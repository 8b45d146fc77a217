{{ config(materialized="table") }}

-- The first customer of each fifth from the second on: with the customer's id, so that equal values fall on the same sides.
with
places as (
    select
        as_of,
        'recency' as measure,
        6 - recency_score as tile,
        cast(recency_days as decimal(38, 12)) as first_value,
        customer_id
    from {{ ref("customer_rfm") }}
    union all
    select as_of, 'frequency', frequency_score, cast(orders as decimal(38, 12)), customer_id
    from {{ ref("customer_rfm") }}
    union all
    select as_of, 'monetary', monetary_score, revenue_usd_exact, customer_id
    from {{ ref("customer_rfm") }}
),

firsts as (
    select places.*
    from places
    where tile > 1
    qualify row_number() over (partition by measure, tile order by first_value, customer_id) = 1
)

select
    as_of,
    measure,
    cast(tile as integer) as tile,
    first_value,
    customer_id as first_customer_id
from firsts
