"""Rows that leave for elsewhere: what tells a finding, what to label, what to leave out, and how old rows weigh."""
