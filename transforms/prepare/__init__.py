"""The data stage: steps that turn a user's columns into what the model takes. `--prepare SPEC`."""
