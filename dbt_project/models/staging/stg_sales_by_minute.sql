select
    minutes.minute as minute_start,
    minutes.business_date,
    minutes.channel,
    minutes.store_id,
    minutes.currency,
    minutes.orders,
    minutes.returns,
    minutes.units,
    minutes.net_amount
from {{ source("raw", "sales_by_minute") }} as minutes
