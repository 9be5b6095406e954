"""Whether rows influence one another: proven by following their axis through the graph, or probed by running it."""
