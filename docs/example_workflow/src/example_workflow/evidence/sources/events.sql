select event_type, occurred_at, place, region, longitude, latitude, depth_km, magnitude
from stg_earthquakes
