{{ config(materialized="table") }}

with
seen as (
    select store_id, business_date from {{ ref("stg_transaction_lines") }}
    union all
    select fulfilment_store_id as store_id, business_date
    from {{ ref("stg_transaction_lines") }}
    where fulfilment_store_id is not null
    union all
    select store_id, business_date from {{ ref("stg_inventory_movements") }}
),

stores as (
    select store_id, min(business_date) as first_seen_on, max(business_date) as last_seen_on
    from seen
    group by store_id
),

-- A web shop sells to many places; its place is where its last sale went.
last_sales as (
    select store_id, channel, country, region
    from {{ ref("stg_transaction_lines") }}
    qualify row_number() over (partition by store_id order by event_time desc, event_id desc, line_number desc) = 1
)

select
    stores.store_id,
    last_sales.channel,
    last_sales.country,
    last_sales.region,
    stores.first_seen_on,
    stores.last_seen_on
from stores
left join last_sales on stores.store_id = last_sales.store_id
