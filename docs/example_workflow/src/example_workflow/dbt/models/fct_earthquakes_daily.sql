with events as (
    select * from {{ ref('stg_earthquakes') }}
)

select
    occurred_on,
    event_type,
    count(*) as event_count,
    avg(magnitude) as average_magnitude,
    max(magnitude) as largest_magnitude,
    avg(depth_km) as average_depth_km,
    sum(felt_reports) as felt_reports,
    sum(case when is_reviewed then 1 else 0 end) as reviewed_count
from events
group by occurred_on, event_type
