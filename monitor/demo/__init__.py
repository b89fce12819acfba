"""`driftwarden demo`: a real model's log with a documented drift, watched by a real agent."""
