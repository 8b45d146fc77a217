{#
    The tag of all that a node runs on Snowflake: what RETAIL_QUERY_TAG says, read only when it runs. In the profile, another
    run's tag would make dbt parse the whole project again.
#}
{% macro snowflake__set_query_tag() %}
    {%- set tag = env_var("RETAIL_QUERY_TAG", "") if execute else "" -%}
    {%- if tag -%}
        {%- do run_query("alter session set query_tag = '" ~ tag | replace("'", "''") ~ "'") -%}
    {%- endif -%}
{% endmacro %}
