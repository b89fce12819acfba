"""Notifications: what the agent tells others of its own accord, and to whom."""
