{{ config(materialized="view") }}

-- A view: the verdict on an alert comes weeks after its day was built.
with
verdicts as (
    select
        transaction_event_id,
        verdict,
        event_time as judged_at,
        analyst
    from {{ ref("stg_fraud_labels") }}
    -- Those on one purchase have one key, so one partition of the topic.
    qualify row_number() over (partition by transaction_event_id order by append_time desc, kafka_offset desc) = 1
)

select
    alerts.alert_id,
    alerts.business_date,
    alerts.event_time,
    alerts.transaction_event_id,
    alerts.store_id,
    alerts.rule,
    alerts.rule_version,
    alerts.parameter_version,
    alerts.shadow,
    alerts.severity,
    alerts.purchase_usd,
    verdicts.verdict,
    verdicts.judged_at,
    verdicts.analyst
from {{ ref("fct_fraud_alerts") }} as alerts
left join verdicts on alerts.transaction_event_id = verdicts.transaction_event_id
