"""Everything that is found out before a job starts."""
