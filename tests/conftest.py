"""Settings that hold for every test: property tests are reproducible and never timed."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("driftwarden", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("driftwarden")
