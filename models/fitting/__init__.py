"""Data and model brought together before anything runs: which columns fill which inputs, where the rows are."""
