with strongest as (
    select strength_rank, occurred_at, place, magnitude, depth_km, felt_reports, url
    from example_workflow_marts.fct_strongest_earthquakes
)

select * from strongest
union all
select null, null, null, null, null, null, null
where not exists (select 1 from strongest)
order by 1
