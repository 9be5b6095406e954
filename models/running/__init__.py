"""A model at work: sessions, devices, runs with a limit, blocks of a fixed batch."""
