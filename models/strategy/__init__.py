"""Which split: rows over replicas, the graph over stages, layers over shards, or several of these at once.

width       the model as each of N shards has it: the same graph, with its numbers divided
teams       N workers that act as one, and how they meet
cost        what a stage's workers do for a micro-batch, in closed form
candidate   every way that is considered, with rows a second and memory predicted
choose      the best of them, and why
simulate    discrete events, for clusters that are not at hand
here        what this machine's cores do side by side
measure     what fits this machine, run
"""
