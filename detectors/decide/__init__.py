"""From evidence to verdicts: budgets, attribution, recovery. The only place with thresholds."""
