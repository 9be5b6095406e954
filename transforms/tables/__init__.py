"""Tables of data lakes: which files a version of one has, and what their rows are; files added as one commit."""
