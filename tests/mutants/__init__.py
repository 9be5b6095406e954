"""Whether the tests notice: small faults, put into the source one at a time. `python -m tests.mutants --help`."""
