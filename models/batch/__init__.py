"""Graphs whose batch is fixed, changed so that they take any number of rows."""
