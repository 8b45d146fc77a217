-- Of a day's alerts, at most one in a hundred came later than a second after its purchase was in Kafka. An alert without its
-- purchase in silver is as wrong. A warning: the alerts are true, but someone was served meanwhile.
{{ config(severity="warn") }}

select
    business_date,
    count(*) as alerts,
    count(case when latency_ms > 1000 then 1 end) as late,
    count(*) - count(latency_ms) as without_purchase
from {{ ref("fct_fraud_alerts") }}
where {{ in_business_window() }}
group by business_date
having count(case when latency_ms > 1000 then 1 end) * 100 > count(*) or count(latency_ms) < count(*)
