{{ config(materialized="incremental", incremental_strategy="business_window") }}

select
    alerts.event_id as alert_id,
    alerts.business_date,
    alerts.event_time,
    alerts.transaction_event_id,
    alerts.transaction_id,
    alerts.card_token,
    alerts.store_id,
    alerts.rule,
    alerts.rule_version,
    alerts.parameter_version,
    alerts.score,
    alerts.severity,
    alerts.shadow,
    alerts.evidence,
    orders.customer_id,
    orders.revenue_usd as purchase_usd,
    cast({{ dbt.datediff("purchases.append_time", "alerts.append_time", "millisecond") }} as bigint) as latency_ms
from {{ ref("stg_fraud_alerts") }} as alerts
left join {{ ref("int_event_latency") }} as purchases on alerts.transaction_event_id = purchases.event_id
left join {{ ref("fct_orders") }} as orders on alerts.transaction_event_id = orders.event_id
where {{ in_business_window("alerts.business_date") }}
