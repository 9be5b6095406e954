"""Notes the times of a message's way: `sitecustomize`, which processes import that have this folder in their path."""
