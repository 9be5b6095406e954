"""The columns of a block bound to the inputs of a model: which go where, as what type and shape, and their nulls."""
