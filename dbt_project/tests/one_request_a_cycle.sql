-- Of a store, product and cycle one request is open: asked for or held once, and a held one released once at most.
{{ config(severity="warn") }}

select store_id, product_id, cycle, count(*) as said
from {{ ref("reorder_history") }}
group by store_id, product_id, cycle
having count(case when status <> 'released' then 1 end) > 1 or count(case when status = 'released' then 1 end) > 1
