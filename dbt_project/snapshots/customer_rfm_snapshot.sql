{% snapshot customer_rfm_snapshot %}

{{
    config(
        schema="marts",
        unique_key="customer_id",
        strategy="check",
        check_cols=["segment"],
        updated_at="as_of",
        pre_hook=[
            "{{ take_back_versions(ref('customer_rfm')) }}",
            "{{ reopen_versions(ref('customer_rfm')) }}",
        ],
    )
}}

-- Who has no sale left in the window is hibernating, as in reactions/segments/customers.py.
with
rfm as (
    select * from {{ ref("customer_rfm") }}
),

today as (
    select max(as_of) as as_of from rfm
)

select
    customers.customer_id,
    today.as_of,
    coalesce(rfm.segment, 'hibernating') as segment,
    rfm.recency_days,
    rfm.orders,
    rfm.revenue_usd,
    rfm.recency_score,
    rfm.frequency_score,
    rfm.monetary_score
from {{ ref("dim_customers") }} as customers
cross join today
left join rfm on customers.customer_id = rfm.customer_id
where customers.orders > 0 and {{ no_version_is_after("today.as_of") }}

{% endsnapshot %}
