-- One row for each event, in its newest version; a run looks only at what it may not have seen yet.
{{ config(materialized='incremental', unique_key='event_id', on_schema_change='append_new_columns') }}

with events as (
    select * from {{ ref('stg_earthquakes') }}
)

select
    event_id,
    event_type,
    occurred_at,
    occurred_on,
    updated_at,
    region,
    longitude,
    latitude,
    depth_km,
    magnitude,
    significance,
    is_reviewed
from events
{% if is_incremental() %}
-- as much overlap as processing.cursor.lookback has: an update may come late
where updated_at >= (
    select coalesce(max(updated_at), cast('1900-01-01' as timestamptz)) - interval '1 day' from {{ this }}
)
{% endif %}
