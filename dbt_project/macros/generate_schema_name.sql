{# A folder's schema is its name (staging, intermediate, marts, seeds), without the target's schema in front. #}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ (custom_schema_name or target.schema) | trim }}
{%- endmacro %}
