"""PTransforms over blocks: read, partition, prepare, infer, finish, write."""
