{# The exact sum of an amount, null as soon as one of the amounts is unknown: a currency without a rate must not vanish. #}
{% macro exact_sum(amount) -%}
    case when count(*) = count({{ amount }}) then cast(sum({{ amount }}) as decimal(38, 12)) end
{%- endmacro %}

{# An exact amount in cents, rounded half up (away from zero). #}
{% macro cents(amount) -%}
    cast(round({{ amount }}, 2) as decimal(18, 2))
{%- endmacro %}

{#
    Corrects a quotient in cents that came from an inexact division (DuckDB divides decimals as doubles) by its exact
    remainder: ties and near-ties round half up on every engine. The quotient is null where the divisor is 0.
#}
{% macro corrected_cents(quotient, dividend, divisor) -%}
    {%- set remainder -%}
    (abs({{ dividend }}) - abs({{ quotient }}) * cast({{ divisor }} as decimal(38, 0)))
    {%- endset -%}
    {%- set half -%}
    (cast(0.005 as decimal(38, 3)) * cast({{ divisor }} as decimal(38, 0)))
    {%- endset -%}
    cast(
        (abs({{ quotient }}) + case
            when {{ remainder }} >= {{ half }} then 0.01
            when {{ remainder }} < -{{ half }} then -0.01
            else 0.00
        end) * case when {{ dividend }} < 0 then -1 else 1 end
    as decimal(18, 2))
{%- endmacro %}
