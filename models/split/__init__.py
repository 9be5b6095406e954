"""Layer-wise model parallelism: where a graph may be cut, what it costs, the plan, and the stages that come of it."""
