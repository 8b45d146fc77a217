{# Columns that together tell one row from another. #}
{% test unique_together(model, columns) %}
    select {{ columns | join(", ") }}, count(*) as times
    from {{ model }}
    group by {{ columns | join(", ") }}
    having count(*) > 1
{% endtest %}

{# The versions of a snapshot: each ends when the next of its key begins, after it began; the last of each key is open. #}
{% test versions_follow_each_other(model, key) %}
    select *
    from (
        select
            {{ key }},
            dbt_valid_from,
            dbt_valid_to,
            lead(dbt_valid_from) over (partition by {{ key }} order by dbt_valid_from) as next_valid_from
        from {{ model }}
    ) as versions
    where coalesce(dbt_valid_to <> next_valid_from, not (dbt_valid_to is null and next_valid_from is null))
        or dbt_valid_to <= dbt_valid_from
{% endtest %}
