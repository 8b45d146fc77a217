{#
    What a node's session is told on Snowflake before it works: the longest that a statement may take, and the tag of its
    statements, both read only when it runs. In the profile there is no place for the one, and another run's tag would make dbt
    parse the whole project again.
#}
{% macro snowflake__set_query_tag() %}
    {%- if execute -%}
        {%- set seconds = env_var("RETAIL_STATEMENT_SECONDS") -%}
        {%- set tag = env_var("RETAIL_QUERY_TAG", "") | replace("'", "''") -%}
        {%- do run_query("alter session set statement_timeout_in_seconds = " ~ seconds ~ ", query_tag = '" ~ tag ~ "'") -%}
    {%- endif -%}
{% endmacro %}
