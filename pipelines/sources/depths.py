"""What is told to the readers of text of the inputs that columns feed: how deep in lists values may be, how exact."""

from __future__ import annotations

from collections.abc import Collection

import pyarrow as pa

from beamsplit.models.binding.binding import Binding
from beamsplit.models.values.tensors import column_type
from beamsplit.transforms.read.json_depth import Depths, depths_of


def input_depths(binding: Binding, schema: pa.Schema, leave: Collection[str]) -> tuple[tuple[str, Depths], ...]:
    """How deep in lists the values of the columns may be that fill the model's inputs.

    Args:
        binding: what fills them.
        schema: of the columns as they are read.
        leave: columns whose values stay as they are.
    """
    found = {}
    for bound in binding.inputs:
        dims = () if len(bound.columns) > 1 else bound.dims
        if dims is None:
            continue
        sizes = tuple(size if isinstance(size, int) else None for size in dims)
        for name in bound.columns:
            if name in leave or name not in schema.names:
                continue
            depths = depths_of(schema.field(name).type, sizes)
            if depths is not None:
                found[name] = depths
    return tuple(found.items())


def narrower_floats(binding: Binding, schema: pa.Schema) -> tuple[tuple[str, str], ...]:
    """Columns that are read as float64 and feed inputs of narrower floats, which do not round whole numbers: as which.

    Args:
        binding: what fills the model's inputs.
        schema: of the columns as they are read.
    """
    found: dict[str, str] = {}
    for bound in binding.inputs:
        for name in bound.columns if bound.exact and bound.dtype in ("float16", "float32") else ():
            kind = column_type(schema.field(name).type) if name in schema.names else None
            if kind is not None and kind.dtype == "float64":
                found[name] = min(bound.dtype, found.get(name, bound.dtype))
    return tuple(found.items())
