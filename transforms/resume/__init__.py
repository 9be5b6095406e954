"""Jobs that resume: what is scored is kept split by split beside the output, until the output is there."""
