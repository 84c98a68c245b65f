select occurred_on, event_type, event_count, average_magnitude, largest_magnitude
from fct_earthquakes_daily
order by occurred_on, event_type
