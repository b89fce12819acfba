"""Special functions that the detectors share."""
