"""Benchmarks: one file a question, each against named alternatives in the same run."""
