with source as (
    select * from {{ source('example_workflow_raw', 'example_workflow') }}
),

renamed as (
    select
        id as event_id,
        event_type,
        occurred_at,
        cast(occurred_at at time zone 'UTC' as date) as occurred_on,
        updated as updated_at,
        place,
        -- "9km NE of Aguanga, CA" lies in CA, "South Sandwich Islands region" in itself
        trim(split_part(place, ', ', case when place like '%, %' then 2 else 1 end)) as region,
        longitude,
        latitude,
        depth_km,
        magnitude,
        magnitude_type,
        significance,
        tsunami as has_tsunami_warning,
        coalesce(felt_reports, 0) as felt_reports,
        status = 'reviewed' as is_reviewed,
        network,
        url
    from source
)

select * from renamed
