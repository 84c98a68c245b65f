select strength_rank, occurred_at, place, magnitude, depth_km, felt_reports, url
from fct_strongest_earthquakes
order by strength_rank
