"""The commands: options and wiring. No DoFn lives here (a command runs as `__main__`)."""
