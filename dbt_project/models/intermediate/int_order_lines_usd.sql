-- A rate holds from its valid_from until the next one of its currency.
with
rates as (
    select
        currency,
        usd_per_unit,
        valid_from,
        lead(valid_from) over (partition by currency order by valid_from) as valid_until
    from {{ ref("fx_rates") }}
    where currency <> 'USD'
),

rated as (
    select
        lines.*,
        case when lines.currency = 'USD' then cast(1 as decimal(18, 8)) else rates.usd_per_unit end as usd_per_unit
    from {{ ref("stg_transaction_lines") }} as lines
    left join rates
        on lines.currency = rates.currency
        and lines.business_date >= rates.valid_from
        and (lines.business_date < rates.valid_until or rates.valid_until is null)
)

-- The cast before the product widens it: DuckDB keeps 18 digits for the product of two decimals of 18.
select
    rated.*,
    cast(direction * quantity as bigint) as units,
    cast(direction * cast(net_amount as decimal(38, 4)) * usd_per_unit as decimal(38, 12)) as revenue_usd_exact
from rated
