"""What the agent serves over HTTP besides the ingest routes."""
