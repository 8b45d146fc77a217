{#
    The condition that keeps the business dates of this run, or all of them:
    RETAIL_START_DATE <= business_date < RETAIL_END_DATE, as YYYY-MM-DD.
    From the environment and only when it runs: dbt would parse the whole project again for other --vars, or for another
    value of a variable that it has read while it parsed, and that takes longer than to build a day.
#}
{% macro in_business_window(column="business_date") -%}
    {%- set start = env_var("RETAIL_START_DATE", "") if execute else "" -%}
    {%- set end = env_var("RETAIL_END_DATE", "") if execute else "" -%}
    {%- if start and end -%}
        {{ column }} >= cast('{{ start }}' as date) and {{ column }} < cast('{{ end }}' as date)
    {%- elif start or end -%}
        {{ exceptions.raise_compiler_error("give both RETAIL_START_DATE and RETAIL_END_DATE (the day after the last), or neither") }}
    {%- else -%}
        1 = 1
    {%- endif -%}
{%- endmacro %}

{#
    The incremental strategy of the daily marts: the window's rows are deleted and inserted again, so a date that lost its
    rows ends up empty, and a range gives what its days give one by one. delete+insert of dbt deletes only keys that
    the new rows have.
#}
{% macro get_incremental_business_window_sql(arg_dict) %}
    {%- set columns = get_quoted_csv(arg_dict["dest_columns"] | map(attribute="name")) -%}
    {%- set statements -%}
    delete from {{ arg_dict["target_relation"] }} where {{ in_business_window() }};
    insert into {{ arg_dict["target_relation"] }} ({{ columns }})
    select {{ columns }} from {{ arg_dict["temp_relation"] }};
    {%- endset -%}
    {{ adapter.dispatch("one_transaction")(statements) }}
{% endmacro %}

{# dbt begins a transaction for each model; on Snowflake it leaves each statement on its own. #}
{% macro default__one_transaction(statements) %}{{ statements }}{% endmacro %}

{% macro snowflake__one_transaction(statements) %}
begin;
{{ statements }}
{# Nothing after it: dbt would send its comment as a statement of its own. -#}
commit
{%- endmacro %}
