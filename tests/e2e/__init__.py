"""Real processes: rows in over the wire, verdicts out, killed and resumed."""
