with rejected as (
    select unnest(string_to_array(checks, ',')) as check_name, rejected_at
    from example_workflow_rejected
)

select check_name, count(*) as row_count, max(rejected_at) as last_rejected_at
from rejected
group by check_name
order by row_count desc, check_name
