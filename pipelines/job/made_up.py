"""Rows made up from a model's input types, as a table that the model can be fitted to like one of real rows."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np
import pyarrow as pa

from beamsplit.models.errors import UsageError
from beamsplit.models.fitting.fixed_batch_ways import Way, fixed_ways
from beamsplit.models.graph.feeds import make_feeds
from beamsplit.models.graph.signature import Signature
from beamsplit.models.independence.rows_axis import input_axes_candidates
from beamsplit.models.values.tensors import output_field, to_arrow

MOST, FEWEST, MOST_BYTES = 256, 8, 4 << 20
"""Rows that are made, and the bytes that end them earlier."""


def fixed_batch(signature: Signature, constants: Collection[str]) -> int:
    """The number of rows that a run of the model must have; 1 where it takes any, or one."""
    way = _way(signature, constants)
    sizes = [] if way is None else way.sizes(signature).values()
    return max((size for size in sizes if size is not None), default=1)


def made_up_rows(signature: Signature, constants: Collection[str], limits: Mapping[str, int]) -> pa.RecordBatch:
    """A column an input that no constant fills, of the input's name.

    Args:
        signature: of the model.
        constants: inputs that are given otherwise.
        limits: for an integer input, the number of ids that it may hold.

    Raises:
        UsageError: an input has no axis for the rows.
    """
    way = _way(signature, constants)
    guesses = [dict(way.axes)] if way is not None else input_axes_candidates(signature, frozenset(constants))
    axes: Mapping[str, int | None] = guesses[0] if guesses else {}
    specs = [spec for spec in signature.inputs if spec.name not in constants]
    whole = [spec for spec in specs if axes.get(spec.name) is None]
    if whole:
        raise UsageError(
            f"the model's input '{whole[0]}' carries no rows: give it a value with --set {whole[0].name}=NUMBER (or "
            "zeros, ones, FILE.npy), or give rows with --sample FILE"
        )
    opened = []
    for spec in specs:
        axis = axes[spec.name]
        dims = list(spec.shape if spec.shape is not None else (None,))
        dims[axis or 0] = None
        opened.append(replace(spec, shape=tuple(dims)))
    rows = max(FEWEST, fixed_batch(signature, constants) + 1)
    one = make_feeds(Signature(tuple(opened), ()), 1, id_limits=limits, rows_axes=axes)
    each = sum(values.nbytes for values in one.values())
    rows = max(rows, min(MOST, MOST_BYTES // max(each, 1)))
    fed = make_feeds(Signature(tuple(opened), ()), rows, id_limits=limits, rows_axes=axes)
    fields, arrays = [], []
    for spec in opened:
        values = np.moveaxis(fed[spec.name], axes[spec.name] or 0, 0)
        fields.append(output_field(spec.name, spec.dtype, values.shape[1:]))
        arrays.append(to_arrow(values, fields[-1]))
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def _way(signature: Signature, constants: Collection[str]) -> Way | None:
    return next((way for way in fixed_ways(signature, constants) if not way.exact), None)
