"""What the alarms will do, measured before (and while) they are relied on: the engine on resampled and shifted rows."""
