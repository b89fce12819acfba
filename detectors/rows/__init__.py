"""Single rows: scores of how odd they are, integrity, and the spaces in which they are compared."""
