-- A query without rows would fail the build of the whole site: one empty row stands in.
with events as (
    select event_type, occurred_at, place, region, longitude, latitude, depth_km, magnitude
    from example_workflow_marts.stg_earthquakes
)

select * from events
union all
select null, null, null, null, null, null, null, null
where not exists (select 1 from events)
