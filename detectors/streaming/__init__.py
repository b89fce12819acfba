"""The classical streaming detectors, vectorised over columns, for those who ask for them by name."""
