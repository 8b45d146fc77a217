-- The stream's newest level of each stock that changed in these days, against the same computed here from all sales and
-- movements: the last count, and what moved after it. Only where both have seen the same events: the stream may be ahead of
-- the load, or have refused what came too late. A warning: a shelf is counted again, no sale is wrong.
{{ config(severity="warn") }}

with
touched as (
    select store_id, product_id, max(revision) as revision, max(refused_events) as refused_events
    from {{ ref("stg_stock_levels") }}
    where {{ in_business_window() }}
    group by store_id, product_id
),

newest as (
    select levels.store_id, levels.product_id, levels.revision, levels.on_hand
    from {{ ref("stg_stock_levels") }} as levels
    join touched
        on levels.store_id = touched.store_id
        and levels.product_id = touched.product_id
        and levels.revision = touched.revision
    where touched.refused_events = 0
),

changes as (
    select int_stock_events.*, case when reason = 'count' then 1 else 0 end as counted
    from {{ ref("int_stock_events") }} as int_stock_events
),

since_counts as (
    select
        changes.*,
        sum(counted) over (
            partition by store_id, product_id order by event_time, counted, event_id
            rows between unbounded preceding and current row
        ) as counts_before,
        sum(counted) over (partition by store_id, product_id) as counts
    from changes
),

expected as (
    select
        store_id,
        product_id,
        max(events) as events,
        sum(quantity) as on_hand
    from (
        select since_counts.*, count(*) over (partition by store_id, product_id) as events from since_counts
    ) as numbered
    where counts_before = counts
    group by store_id, product_id
)

select newest.store_id, newest.product_id, newest.on_hand, expected.on_hand as expected_on_hand, newest.revision
from newest
join expected on newest.store_id = expected.store_id and newest.product_id = expected.product_id
where expected.events = newest.revision and expected.on_hand <> newest.on_hand
