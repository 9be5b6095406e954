"""Types of columns that Parquet and text hold, which need not be tried."""

from __future__ import annotations

import pyarrow as pa

from beamsplit.models.values.tensors import column_type


def is_plain(kind: pa.DataType) -> bool:
    """Whether values are numbers, times, texts, or tensors of numbers."""
    if (pa.types.is_primitive(kind) and not pa.types.is_interval(kind)) or pa.types.is_string(kind):
        return True
    return isinstance(kind, pa.FixedShapeTensorType) and column_type(kind) is not None
