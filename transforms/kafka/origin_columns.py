"""Columns of a file that tell which message a prediction was made of."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from beamsplit.transforms.block import KEY, ORIGIN_FILE, ORIGIN_ROW
from beamsplit.transforms.columns_behind import ColumnsBehind
from beamsplit.transforms.kafka.blocks import parse_origin


class AddMessageColumns(ColumnsBehind):
    """Which message; bytes of a key that are no UTF-8 are shown as `\\xNN`."""

    fields = (
        pa.field("input_partition", pa.int32(), nullable=False),
        pa.field("input_offset", pa.int64(), nullable=False),
        pa.field("input_key", pa.string()),
    )
    predictions = "messages"

    def made(self, block: pa.RecordBatch) -> Mapping[str, pa.Array]:
        """Its partition, offset and key."""
        origins = block.column(ORIGIN_FILE)
        partitions = np.array([parse_origin(name)[1] for name in origins.dictionary.to_pylist()], np.int32)
        return {
            "input_partition": pa.array(partitions[origins.indices.to_numpy()]),
            "input_offset": block.column(ORIGIN_ROW),
            "input_key": _texts(block.column(KEY)),
        }


def _texts(keys: pa.Array) -> pa.Array:
    try:
        return keys.cast(pa.string())
    except pa.ArrowInvalid:
        decoded = [None if key is None else key.decode("utf-8", "backslashreplace") for key in keys.to_pylist()]
        return pa.array(decoded, pa.string())
