"""The command line: options, grouped, with their checks. Imports no Beam."""
