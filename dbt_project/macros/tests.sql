{# Columns that together tell one row from another. #}
{% test unique_together(model, columns) %}
    select {{ columns | join(", ") }}, count(*) as times
    from {{ model }}
    group by {{ columns | join(", ") }}
    having count(*) > 1
{% endtest %}
