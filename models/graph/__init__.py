"""A model file and its graph: read, made fit to run, taken apart into nodes with types, and saved."""
