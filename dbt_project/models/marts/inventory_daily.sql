{{ config(materialized="view") }}

-- A view: an event that comes late changes its day and every day after it, until the next count.
with
since_counts as (
    select
        days.*,
        sum(case when counts > 0 then 1 else 0 end) over (
            partition by store_id, product_id order by business_date rows between unbounded preceding and current row
        ) as counted_days,
        -- 0, unless what came before the first revision that is loaded is not.
        first_value(on_hand_before_first_revision) over (
            partition by store_id, product_id order by first_revision
            rows between unbounded preceding and unbounded following
        ) as first_on_hand
    from {{ ref("int_stock_days") }} as days
),

closed as (
    select
        since_counts.*,
        sum(units) over (
            partition by store_id, product_id, counted_days order by business_date
            rows between unbounded preceding and current row
        ) + case when counted_days = 0 then first_on_hand else 0 end as closing_on_hand
    from since_counts
),

opened as (
    select
        closed.*,
        coalesce(
            lag(closing_on_hand) over (partition by store_id, product_id order by business_date), first_on_hand
        ) as opening_on_hand
    from closed
)

select
    business_date,
    store_id,
    product_id,
    cast(closing_on_hand as integer) as closing_on_hand,
    cast(
        least(
            coalesce(opening_on_hand + lowest_before_counts, lowest_since_counts),
            coalesce(lowest_since_counts, opening_on_hand + lowest_before_counts)
        )
    as integer) as lowest_on_hand,
    units_sold,
    units_returned,
    units_received,
    units_transferred,
    units_adjusted,
    counts,
    cast(
        closing_on_hand - opening_on_hand
        - (units_returned + units_received + units_transferred + units_adjusted - units_sold)
    as bigint) as units_corrected_by_counts,
    changes
from opened
