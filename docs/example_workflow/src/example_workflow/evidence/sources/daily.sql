with daily as (
    select occurred_on, event_type, event_count, average_magnitude, largest_magnitude
    from example_workflow_marts.fct_earthquakes_daily
)

select * from daily
union all
select null, null, null, null, null
where not exists (select 1 from daily)
order by 1, 2
