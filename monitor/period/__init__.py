"""The report of a period: what changed, what was alarmed, what was done, calibration and coverage."""
