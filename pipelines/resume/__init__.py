"""`--resume`: what a job is, what of it is done already, and how the rest is run."""
