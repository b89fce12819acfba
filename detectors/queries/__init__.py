"""Queries and their senders: near-duplicates, boundary walks, extraction, and what else one query does not show."""
