"""A model at work: sessions, devices, runs with a limit, rows scored in batches."""
