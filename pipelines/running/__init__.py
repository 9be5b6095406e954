"""A planned job at work: wired, run on a runner, watched, interrupted, ended."""
