{{ config(materialized="incremental", incremental_strategy="business_window") }}

select
    event_id,
    business_date,
    event_time,
    request_id,
    store_id,
    product_id,
    cycle,
    status,
    quantity,
    position,
    on_hand,
    backorders,
    reorder_point,
    safety_stock,
    economic_quantity,
    demand_mean,
    demand_deviation,
    demand_method,
    parameters_version,
    evidence
from {{ ref("stg_reorder_requests") }}
where {{ in_business_window() }}
