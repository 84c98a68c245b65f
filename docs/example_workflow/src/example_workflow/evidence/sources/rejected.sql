with rejected as (
    select unnest(string_to_array(checks, ',')) as check_name, rejected_at
    from example_workflow_raw.example_workflow_rejected
)

select check_name, count(*) as row_count, max(rejected_at) as last_rejected_at
from rejected
group by check_name
union all
select null, 0, null
where not exists (select 1 from rejected)
order by 2 desc
