"""Pure statistics: numpy and scipy only; no clock, no log, no file, no thread, no global random state."""
