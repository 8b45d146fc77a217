-- Provenance repeats on every line of an event: one row an event.
with
events as (
    select distinct event_id, business_date, append_time, query_id, batch_id
    from {{ ref("stg_transaction_lines") }}
)

select
    events.event_id,
    events.business_date,
    events.append_time,
    batches.committed_at,
    cast({{ dbt.datediff("events.append_time", "batches.committed_at", "millisecond") }} as bigint) as latency_ms
from events
left join {{ ref("stg_ingest_batches") }} as batches
    on events.query_id = batches.query_id and events.batch_id = batches.batch_id
