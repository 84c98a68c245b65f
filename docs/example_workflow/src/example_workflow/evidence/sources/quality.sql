select
    count(*) as event_count,
    count(*) filter (where is_reviewed) as reviewed_count,
    count(*) filter (where magnitude is null) as without_magnitude,
    count(*) filter (where url is null) as without_url,
    max(updated_at) as last_update,
    (select count(*) from example_workflow_rejected) as rejected_count
from stg_earthquakes
