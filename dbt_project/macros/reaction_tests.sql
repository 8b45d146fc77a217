{#
    Of what a reaction said on a day, at most one in a hundred came later than a second after what caused it was in Kafka: both
    by the broker's clock. `causes` has an append_time, and is found by the columns `found_by`: ours, and theirs. Of several
    causes it was the last. Without `causes`, `caused_at` is a column that says when the cause was appended. What is not
    found is not judged, unless `must_be_found`.
#}
{% test comes_within_a_second(model, causes=none, found_by={}, caused_at=none, only="1 = 1", must_be_found=false) %}
    {{ config(severity="warn") }}
    with
    said as (
        select
            said.event_id,
            said.business_date,
            said.append_time,
            {{ "said." ~ caused_at if caused_at else "max(causes.append_time)" }} as caused_at
        from {{ model }} as said
        {% if causes %}
        left join {{ causes }} as causes
            on {% for ours, theirs in found_by.items() %}said.{{ ours }} = causes.{{ theirs }}{{ " and " if not loop.last }}{% endfor %}

        {% endif %}
        where {{ in_business_window("said.business_date") }} and {{ only }}
        {% if causes %}group by said.event_id, said.business_date, said.append_time{% endif %}

    ),

    late as (
        select
            business_date,
            case when {{ dbt.datediff("caused_at", "append_time", "millisecond") }} > 1000 then 1 else 0 end as late,
            case when caused_at is null then 1 else 0 end as without_cause
        from said
    )

    select business_date, count(*) as said, sum(late) as late, sum(without_cause) as without_cause
    from late
    group by business_date
    having sum(late) * 100 > count(*) - sum(without_cause) {{ "or sum(without_cause) > 0" if must_be_found }}
{% endtest %}

{# A number of an evidence, a flat JSON object as text: each engine has its own functions for JSON. #}
{% macro number_of_evidence(name) -%}
    cast({{ dbt.split_part(dbt.split_part(dbt.split_part("evidence", "'\"" ~ name ~ "\": '", 2), "','", 1), "'}'", 1) }} as double precision)
{%- endmacro %}
