"""An output step of a user's own, for the encoder: the mean of each text's token vectors."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

WIDTH = 384
"""Values of a token vector."""


def mean_of_tokens(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Replace `last_hidden_state` (a list of vectors a row) by their mean, a vector of 384."""
    at = batch.schema.get_field_index("last_hidden_state")
    column = batch.column(at)
    tokens = column.flatten().flatten().to_numpy().reshape(-1, WIDTH)
    starts = column.offsets.to_numpy()[:-1] - column.offsets[0].as_py()
    counts = column.value_lengths().to_numpy()
    means = np.zeros((len(column), WIDTH), np.float32)
    filled = counts > 0
    if filled.any():
        means[filled] = np.add.reduceat(tokens, starts[filled], axis=0) / counts[filled, None].astype(np.float32)
    storage = pa.FixedSizeListArray.from_arrays(pa.array(means.ravel()), WIDTH)
    array = pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(pa.float32(), [WIDTH]), storage)
    return batch.set_column(at, pa.field("vector", array.type), array)
