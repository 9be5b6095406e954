"""What the user sees: progress, summaries, tables, the report of a plan."""
