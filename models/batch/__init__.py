"""Models whose batch is fixed: made to take any number of rows, or run in blocks of exactly as many."""
