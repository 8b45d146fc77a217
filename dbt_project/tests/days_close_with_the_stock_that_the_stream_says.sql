-- The newest level of each stock that changed in these days is what its last day closes with: the mart puts it together
-- from the events in the order of their time, the stream in the order in which they came. Only where each revision is loaded.
{{ config(severity="warn") }}

with
touched as (
    select distinct store_id, product_id from {{ ref("stg_stock_levels") }} where {{ in_business_window() }}
),

said as (
    select
        levels.store_id,
        levels.product_id,
        levels.on_hand,
        levels.revision,
        count(*) over (partition by levels.store_id, levels.product_id) as revisions
    from {{ ref("stg_stock_levels") }} as levels
    join touched on levels.store_id = touched.store_id and levels.product_id = touched.product_id
    qualify row_number() over (partition by levels.store_id, levels.product_id order by levels.revision desc) = 1
),

closed as (
    select store_id, product_id, closing_on_hand
    from {{ ref("inventory_daily") }}
    qualify row_number() over (partition by store_id, product_id order by business_date desc) = 1
)

select said.store_id, said.product_id, said.on_hand, closed.closing_on_hand, said.revision
from said
join closed on said.store_id = closed.store_id and said.product_id = closed.product_id
where said.revisions = said.revision and closed.closing_on_hand <> said.on_hand
