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
    cast(sum(felt_reports) as bigint) as felt_reports,
    cast(sum(case when is_reviewed then 1 else 0 end) as bigint) as reviewed_count
from events
group by occurred_on, event_type
