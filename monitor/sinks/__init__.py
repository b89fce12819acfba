"""Where verdicts go. A sink may fail without harming the others; it never talks back."""
