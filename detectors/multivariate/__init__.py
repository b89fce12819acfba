"""Tests that see what only shows jointly: two samples of rows in, evidence out."""
