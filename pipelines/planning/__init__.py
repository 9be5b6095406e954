"""The command `plan`: the rows it plans with, the splits it compares, and what it writes."""
