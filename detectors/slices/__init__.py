"""Groups of rows on which a model fails more than elsewhere, and what to label to know more."""
