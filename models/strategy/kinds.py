"""What `--strategy` may ask for."""

KINDS = ("auto", "replicas", "stages", "shards")
"""Any way, or one kind of them."""
