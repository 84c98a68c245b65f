select id, ordered_at, cast(ordered_at as date) as ordered_on, status, amount
from {{ source('orders_raw', 'orders') }}
