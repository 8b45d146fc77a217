{{ config(materialized="incremental", incremental_strategy="business_window") }}

select
    event_id,
    event_time,
    product_id,
    sequence,
    status,
    price,
    current_price,
    effective_price,
    floor,
    ceiling,
    reason,
    parameters_version,
    evidence,
    business_date
from {{ ref("stg_price_updates") }}
where {{ in_business_window() }}
