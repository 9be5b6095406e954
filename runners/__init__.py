"""Where a pipeline runs: options, workers and checks for each Beam runner."""
