"""What output columns hold, and how those that finish steps make are named."""

from __future__ import annotations

import pyarrow as pa

from beamsplit.models.values.tensors import column_type

FLOATS = ("float16", "float32", "float64")
INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")

ARGMAX = "_argmax"
"""Ends the name of the column that `argmax` makes."""

TOP_K = "_top_k"
"""Ends the name of the columns that `top_k` makes."""

VALUES = "_values"
"""Follows `TOP_K` in the name of the column with the scores."""

THRESHOLD = "_threshold"
"""Ends the name of the column that `threshold` makes."""


def is_scores(data_type: pa.DataType) -> bool:
    """Whether each row holds several floats."""
    kind = column_type(data_type)
    return kind is not None and kind.dtype in FLOATS and len(kind.shape) > 0


def is_float(data_type: pa.DataType) -> bool:
    """Whether each row holds one or several floats."""
    kind = column_type(data_type)
    return kind is not None and kind.dtype in FLOATS


def is_class(data_type: pa.DataType) -> bool:
    """Whether each row holds one or several integers."""
    kind = column_type(data_type)
    return kind is not None and kind.dtype in INTEGERS
