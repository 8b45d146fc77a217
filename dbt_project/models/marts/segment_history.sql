{{ config(materialized="incremental", incremental_strategy="business_window") }}

select
    event_id,
    event_time,
    customer_id,
    as_of,
    segment,
    previous_segment,
    revision,
    recency_days,
    orders,
    revenue_usd,
    recency_score,
    frequency_score,
    monetary_score,
    cutoffs_version,
    parameters_version,
    evidence,
    business_date
from {{ ref("stg_customer_segments") }}
where {{ in_business_window() }}
