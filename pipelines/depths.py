"""Which fields of JSON may be one value or a list of one: those that feed inputs of one value a row."""

from __future__ import annotations

from collections.abc import Collection

import pyarrow as pa

from models.binding import Binding
from transforms.read.json_depth import Depths, depths_of


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
