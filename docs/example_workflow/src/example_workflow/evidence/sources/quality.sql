select
    count(*) as event_count,
    coalesce(sum(case when is_reviewed then 1 else 0 end), 0) as reviewed_count,
    coalesce(sum(case when magnitude is null then 1 else 0 end), 0) as without_magnitude,
    coalesce(sum(case when url is null then 1 else 0 end), 0) as without_url,
    max(updated_at) as last_update,
    (select count(*) from example_workflow_raw.example_workflow_rejected) as rejected_count
from example_workflow_marts.stg_earthquakes
