{{ config(materialized="table") }}

-- Built from everything that was loaded, never from the run's window: which day ran last makes no difference.
with
sold as (
    select
        product_id,
        min(business_date) as first_sold_on,
        max(business_date) as last_sold_on
    from {{ ref("stg_transaction_lines") }}
    where event_type = 'sale'
    group by product_id
),

known as (
    select product_id from {{ ref("stg_transaction_lines") }}
    union
    select product_id from {{ ref("stg_inventory_movements") }}
),

names as (
    select product_id, product_description
    from {{ ref("stg_transaction_lines") }}
    where product_description is not null
    qualify row_number() over (partition by product_id order by event_time desc, event_id desc, line_number desc) = 1
),

categories as (
    select product_id, category
    from {{ ref("stg_transaction_lines") }}
    where category <> 'uncategorised'
    qualify row_number() over (partition by product_id order by event_time desc, event_id desc, line_number desc) = 1
)

select
    known.product_id,
    names.product_description,
    coalesce(categories.category, 'uncategorised') as category,
    sold.first_sold_on,
    sold.last_sold_on
from known
left join names on known.product_id = names.product_id
left join categories on known.product_id = categories.product_id
left join sold on known.product_id = sold.product_id
