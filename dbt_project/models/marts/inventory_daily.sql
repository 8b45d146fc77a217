{{ config(materialized="incremental", incremental_strategy="business_window") }}

with
revisions as (
    select
        levels.*,
        row_number() over (
            partition by business_date, store_id, product_id order by event_time desc, revision desc
        ) as newest_first
    from {{ ref("stg_stock_levels") }} as levels
    where {{ in_business_window() }}
)

select
    business_date,
    store_id,
    product_id,
    cast(max(case when newest_first = 1 then on_hand end) as integer) as closing_on_hand,
    cast(min(on_hand) as integer) as lowest_on_hand,
    cast(-sum(case when reason = 'sale' then quantity else 0 end) as bigint) as units_sold,
    cast(sum(case when reason = 'return' then quantity else 0 end) as bigint) as units_returned,
    cast(sum(case when reason = 'receipt' then quantity else 0 end) as bigint) as units_received,
    cast(sum(case when reason in ('transfer_in', 'transfer_out') then quantity else 0 end) as bigint)
        as units_transferred,
    cast(sum(case when reason in ('adjustment', 'shrinkage') then quantity else 0 end) as bigint) as units_adjusted,
    cast(count(case when reason = 'count' then 1 end) as bigint) as counts,
    cast(sum(case when reason = 'count' then change else 0 end) as bigint) as units_corrected_by_counts,
    cast(count(*) as bigint) as changes
from revisions
group by business_date, store_id, product_id
