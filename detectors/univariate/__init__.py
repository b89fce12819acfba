"""Two-sample tests of one column at a time on the bins of the grid, for all columns at once."""
