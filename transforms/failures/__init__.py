"""Rows that failed: the errors output, its formats, counts by kind, and how many may fail."""
