"""Blocks scored: bound, run in as many rows as is fast, bisected where a row fails, and audited."""
