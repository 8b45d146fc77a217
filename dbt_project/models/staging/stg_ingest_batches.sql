select
    query_id,
    batch_id,
    query_name,
    rows_in,
    events,
    refused,
    duplicates,
    started_at,
    committed_at
from {{ source("raw", "ingest_batches") }}
