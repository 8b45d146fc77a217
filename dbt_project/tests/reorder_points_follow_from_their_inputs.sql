-- A request's reorder point is L·d + z·√(L·σd² + d²·σL²), from what it says of demand, lead time and service level: computed
-- here as the service level that its safety stock gives, for SQL has the normal distribution in one direction only (Abramowitz
-- and Stegun 26.2.17, to 7.5e-8). Its figures have four places, so demand under a hundredth of a unit a day is left out.
{{ config(severity="warn") }}

with
inputs as (
    select
        request_id,
        cast(reorder_point as double precision) as reorder_point,
        cast(safety_stock as double precision) as safety_stock,
        cast(demand_mean as double precision) as mean,
        cast(demand_deviation as double precision) as deviation,
        {{ number_of_evidence("lead_time_days") }} as lead_time,
        {{ number_of_evidence("lead_time_deviation_days") }} as lead_time_deviation,
        {{ number_of_evidence("service_level") }} as service_level
    from {{ ref("reorder_history") }}
    where {{ in_business_window() }} and demand_mean >= 0.01
),

spread as (
    select
        inputs.*,
        sqrt(lead_time * deviation * deviation + mean * mean * lead_time_deviation * lead_time_deviation) as deviation_in_all
    from inputs
),

factors as (
    select spread.*, safety_stock / nullif(deviation_in_all, 0) as z from spread
),

tails as (
    select
        factors.*,
        1 / (1 + 0.2316419 * abs(z)) as t,
        exp(-z * z / 2) / sqrt(2 * acos(-1)) as density
    from factors
),

levels as (
    select
        tails.*,
        density * t * (
            0.319381530 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429)))
        ) as tail
    from tails
)

select request_id, reorder_point, safety_stock, mean, deviation, lead_time, lead_time_deviation, service_level, z
from levels
where abs(reorder_point - safety_stock - lead_time * mean) > 0.0002 + 0.0001 * lead_time
    or abs((case when z >= 0 then 1 - tail else tail end) - service_level) > 0.002
    or (deviation_in_all = 0 and safety_stock <> 0)
