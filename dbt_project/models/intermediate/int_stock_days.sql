{{ config(materialized="incremental", incremental_strategy="business_window", on_schema_change="fail") }}

{# At first all that is loaded: the stock of later days begins with it. -#}
{% set in_these_days = in_business_window() if is_incremental() else "1 = 1" %}

-- What a day's events say of themselves, whatever came before: so a day is built alone, and a late event changes its own day
-- only. The order is that of reactions/stock/levels.py: by event_time, at one time counts last, of two counts the greater
-- event_id last. A level's own event_id is another, so that of a count is looked up.
with
counts as (
    select store_id, product_id, event_time, quantity, max(event_id) as event_id
    from {{ ref("stg_inventory_movements") }}
    where movement = 'count' and {{ in_these_days }}
    group by store_id, product_id, event_time, quantity
),

levels as (
    select * from {{ ref("stg_stock_levels") }} where {{ in_these_days }}
),

revisions as (
    select
        levels.*,
        case when levels.reason = 'count' then 1 else 0 end as counted,
        coalesce(counts.event_id, '') as count_id
    from levels
    left join counts
        on levels.reason = 'count'
        and levels.store_id = counts.store_id
        and levels.product_id = counts.product_id
        and levels.event_time = counts.event_time
        and levels.quantity = counts.quantity
),

since_counts as (
    select
        revisions.*,
        sum(counted) over (
            partition by business_date, store_id, product_id order by event_time, counted, count_id, revision
            rows between unbounded preceding and current row
        ) as counts_before,
        sum(counted) over (
            partition by business_date, store_id, product_id order by event_time
            range between unbounded preceding and current row
        ) as counts_until,
        sum(counted) over (partition by business_date, store_id, product_id) as counts_of_day,
        row_number() over (partition by business_date, store_id, product_id order by revision) as nth
    from revisions
),

levelled as (
    select
        since_counts.*,
        sum(quantity) over (
            partition by business_date, store_id, product_id, counts_before order by event_time
            range between unbounded preceding and current row
        ) as units
    from since_counts
)

select
    business_date,
    store_id,
    product_id,
    cast(sum(counted) as bigint) as counts,
    cast(sum(case when counts_before = counts_of_day then quantity else 0 end) as bigint) as units,
    -- What a count of the same instant replaced was never seen.
    cast(min(case when counts_before = 0 and counts_until = 0 then units end) as bigint) as lowest_before_counts,
    cast(min(case when counts_before > 0 and counts_before = counts_until then units end) as bigint)
        as lowest_since_counts,
    cast(min(revision) as bigint) as first_revision,
    cast(max(case when nth = 1 then on_hand - change end) as bigint) as on_hand_before_first_revision,
    cast(-sum(case when reason = 'sale' then quantity else 0 end) as bigint) as units_sold,
    cast(sum(case when reason = 'return' then quantity else 0 end) as bigint) as units_returned,
    cast(sum(case when reason = 'receipt' then quantity else 0 end) as bigint) as units_received,
    cast(sum(case when reason in ('transfer_in', 'transfer_out') then quantity else 0 end) as bigint)
        as units_transferred,
    cast(sum(case when reason in ('adjustment', 'shrinkage') then quantity else 0 end) as bigint) as units_adjusted,
    cast(count(*) as bigint) as changes
from levelled
group by business_date, store_id, product_id
