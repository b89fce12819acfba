"""Active probes: moved copies of a few rows, asked of the model itself; off unless an endpoint is configured."""
