"""What people do to a model: rows one by one, queries and their senders, labels; verdicts for operators only."""
