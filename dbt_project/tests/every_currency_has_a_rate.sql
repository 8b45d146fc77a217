-- A currency without a rate on the day of a sale. dbt shows only how many rows a test found, so the names go into an
-- error; raised when the test runs, not when the project is parsed or compiled.
{% set missing %}
    select distinct currency, business_date
    from {{ ref("int_order_lines_usd") }}
    where usd_per_unit is null and {{ in_business_window() }}
{% endset %}

{% if execute and flags.WHICH in ("build", "test") %}
    {% set found = run_query(missing ~ " order by business_date, currency") %}
    {% if found | length > 0 %}
        {% set named = [] %}
        {% for row in found.rows %}{% do named.append(row[0] ~ " on " ~ row[1]) %}{% endfor %}
        {{ exceptions.raise_compiler_error(
            "no exchange rate for " ~ named[:20] | join(", ") ~ "; add it to dbt_project/seeds/fx_rates.csv"
        ) }}
    {% endif %}
{% endif %}

{{ missing }}
