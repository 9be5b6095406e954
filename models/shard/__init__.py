"""Width-wise model parallelism: the weights of layers over shards, and the joins that make their results whole."""
