"""The agent: takes inference logs in as Arrow batches and tells Prometheus and people what failed."""
