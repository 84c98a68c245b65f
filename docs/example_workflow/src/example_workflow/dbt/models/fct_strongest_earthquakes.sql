with earthquakes as (
    select * from {{ ref('stg_earthquakes') }}
    where event_type = 'earthquake' and magnitude is not null
),

ranked as (
    select
        -- the earlier of two equally strong ones comes first, so that the ranking is the same each time
        row_number() over (order by magnitude desc, occurred_at, event_id) as strength_rank,
        *
    from earthquakes
)

select
    strength_rank,
    event_id,
    occurred_at,
    place,
    magnitude,
    depth_km,
    longitude,
    latitude,
    has_tsunami_warning,
    felt_reports,
    url
from ranked
where strength_rank <= 25
