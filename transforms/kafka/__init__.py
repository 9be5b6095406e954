"""Topics as input, output and errors: see `source`, `messages`, `sink` and `errors`."""
