-- No price is more than 5 % from the one before it, nor more than 10 % from any that held in the 24 hours before it, as ratios
-- (reactions/prices/guardrails.py); a product's decisions are numbered without gaps. Whatever was told on these days, and what
-- went before it.
{{ config(severity="warn") }}

with
numbered as (
    select
        updates.*,
        lag(sequence) over (partition by product_id order by sequence) as sequence_before
    from {{ ref("price_history") }} as updates
),

told as (
    select * from numbered where {{ in_business_window() }}
)

select 'sequence' as what, event_id, product_id, sequence, price, current_price as before
from told
where sequence <> sequence_before + 1
union all
select 'change', event_id, product_id, sequence, price, current_price
from told
where price is not null and (price > current_price * 1.05 or current_price > price * 1.05)
union all
select 'day', told.event_id, told.product_id, told.sequence, told.price, earlier.current_price
from told
join numbered as earlier
    on told.product_id = earlier.product_id
    and earlier.sequence < told.sequence
    and earlier.event_time > {{ dbt.dateadd("hour", -24, "told.event_time") }}
    and earlier.status in ('applied', 'rolled_back')
where told.price is not null
    and (told.price > earlier.current_price * 1.10 or earlier.current_price > told.price * 1.10)
