{# The condition that keeps the business dates of this run: start_date <= business_date < end_date, or all of them. #}
{% macro in_business_window(column="business_date") -%}
    {%- set start, end = var("start_date"), var("end_date") -%}
    {%- if start and end -%}
        {{ column }} >= cast('{{ start }}' as date) and {{ column }} < cast('{{ end }}' as date)
    {%- elif start or end -%}
        {{ exceptions.raise_compiler_error("give both vars, start_date and end_date (end_date is the day after the last), or neither") }}
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
    delete from {{ arg_dict["target_relation"] }} where {{ in_business_window() }};
    insert into {{ arg_dict["target_relation"] }} ({{ columns }})
    select {{ columns }} from {{ arg_dict["temp_relation"] }};
{% endmacro %}
