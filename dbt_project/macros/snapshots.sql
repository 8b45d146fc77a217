{#
    For a snapshot of a table that is for one date, its `as_of`: dbt_valid_from and dbt_valid_to are such dates, and no clock is
    read. The table is built more than once for a date, so what its last build said of it is taken back before the next: each
    date's newest build holds. A table for an earlier date than the newest of the snapshot changes nothing.
#}
{% macro no_version_is_after(as_of) -%}
    {%- if execute and load_relation(this) is not none -%}
        {{ as_of }} >= coalesce((select max(dbt_valid_from) from {{ this }}), {{ as_of }})
    {%- else -%}
        1 = 1
    {%- endif -%}
{%- endmacro %}

{% macro take_back_versions(relation) -%}
    {%- set as_of = "(select max(as_of) from " ~ relation ~ ")" -%}
    {%- if execute and load_relation(this) is not none -%}
        delete from {{ this }} where dbt_valid_from = {{ as_of }} and {{ no_version_is_after(as_of) }}
    {%- endif -%}
{%- endmacro %}

{% macro reopen_versions(relation) -%}
    {%- set as_of = "(select max(as_of) from " ~ relation ~ ")" -%}
    {%- if execute and load_relation(this) is not none -%}
        update {{ this }} set dbt_valid_to = null where dbt_valid_to = {{ as_of }} and {{ no_version_is_after(as_of) }}
    {%- endif -%}
{%- endmacro %}
