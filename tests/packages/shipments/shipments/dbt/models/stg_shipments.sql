select id, sent_at, weight from {{ source('shipments_raw', 'shipments') }}
