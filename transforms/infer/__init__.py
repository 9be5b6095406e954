"""The model as a step: whole, in stages or in shards, in this process or on workers of its own; and new models."""
