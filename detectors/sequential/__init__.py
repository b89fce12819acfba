"""E-detectors: evidence that may be looked at after every pane, for ever."""
