"""How the tensors that cross a cut lie in memory, and how they travel as columns of a block.

layout    example, for 2 rows             column                                        re-sliced
rows      [2, 3, 8], or [5, 2, 8]         row by row: fixed_shape_tensor, or a          yes
folded    [2 x 5, 8], rows outermost      struct of values and shape where it varies    yes
same      what all rows share             the whole tensor beside row 0                 yes, given to every part
whole     [2, 5] that says the shape      the whole tensor beside row 0                 no: it is of these rows together
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from beamsplit.models.running.ort_values import bfloat16_bits, from_bfloat16_bits
from beamsplit.models.running.session import ModelRunError
from beamsplit.models.values.difference import QUANTISED_TOLERANCE, difference_of
from beamsplit.models.values.tensors import numpy_dtype, output_field, to_arrow, to_numpy, unpack

Array: TypeAlias = "np.ndarray[Any, Any]"

ROWS, FOLDED, SAME, WHOLE = "rows", "folded", "same", "whole"

SAMPLE_ROWS = 3
"""Rows of the larger sample run; the other has one less."""

PREFIX = "cut:"
"""Before the names of boundary columns, so that they are no name of the user's."""

_WIRE = {"bfloat16": "uint16", "int4": "int8", "uint4": "uint8"}
"""Element types that Arrow lacks, and what they travel as; float8 travels as uint8."""


@dataclass(frozen=True)
class Layout:
    """Where the rows are in one boundary tensor."""

    name: str
    dtype: str
    """As in `TensorSpec.dtype`."""

    kind: str = WHOLE
    """`"rows"`, `"folded"`, `"same"` or `"whole"`."""

    axis: int = 0
    """The axis of the rows, for `"rows"` and `"folded"`."""

    row_shape: tuple[int, ...] | None = None
    """Shape of one row without that axis (folded: with what is left of it first); None where it may vary."""

    @property
    def by_row(self) -> bool:
        """Whether each row has its part of it."""
        return self.kind in (ROWS, FOLDED)

    @property
    def field(self) -> pa.Field:
        """Its column."""
        wire = _wire_type(self.dtype)
        if self.by_row and self.row_shape is not None and 0 not in self.row_shape:
            return output_field(PREFIX + self.name, wire, self.row_shape)
        values = output_field("values", wire, None, 1)
        return pa.field(PREFIX + self.name, pa.struct([values, pa.field("shape", pa.list_(pa.int32()))]))

    def split(self, values: Array, rows: int) -> Array:
        """`[rows, *row_shape]` of the tensor for that many rows; a view where the strides allow.

        Raises:
            ModelRunError: the tensor's shape is not one for that many rows.
        """
        size = values.shape[self.axis] if self.axis < values.ndim else -1
        if self.kind == FOLDED and size >= 0 and size % rows == 0:
            values = values.reshape(*values.shape[: self.axis], rows, size // rows, *values.shape[self.axis + 1 :])
        elif size != rows:
            raise ModelRunError(f"tensor {self.name!r} has the shape {list(values.shape)} where {rows} rows went in")
        if self.axis == 0:
            return values
        values = np.moveaxis(values, self.axis, 0)
        # What is left of a folded axis stands behind the axes that were before it.
        return np.moveaxis(values, self.axis + 1, 1) if self.kind == FOLDED else values

    def join(self, values: Array) -> Array:
        """The tensor of `[rows, *row_shape]`: undoes `split`."""
        if self.kind == FOLDED:
            if self.axis:
                values = np.moveaxis(np.moveaxis(values, 1, self.axis + 1), 0, self.axis)
            before, behind = values.shape[: self.axis], values.shape[self.axis + 2 :]
            size = values.shape[self.axis] * values.shape[self.axis + 1]
            return np.ascontiguousarray(values).reshape(*before, size, *behind)
        return np.ascontiguousarray(np.moveaxis(values, 0, self.axis)) if self.axis else values


def find_layouts(
    run: Callable[[dict[str, Array]], Mapping[str, Array]],
    take: Callable[[Array], dict[str, Array]],
    dtypes: Mapping[str, str],
    *,
    fixed: bool,
    quantised: bool = False,
    unlike: bool = True,
) -> dict[str, Layout]:
    """Find the rows in boundary tensors by running unlike numbers of sample rows: three, two and each alone.

    A tensor has its rows on an axis only if each row's part is what the row gives alone; else it is whole.

    Args:
        run: runs all stages; every tensor that crosses a cut, by name.
        take: the model's inputs for the sample rows at these positions, of which there are three.
        dtypes: element type of each tensor asked for.
        fixed: whether rows of the data always make tensors of one shape.
        quantised: whether the model sets scales from the values it is run on (`graph.quantises_at_run`).
        unlike: whether those rows differ: of equal rows, nothing can be known to be the same for all rows.
    """
    rows = np.arange(SAMPLE_ROWS)
    try:
        many, few = run(take(rows)), run(take(rows[:-1]))
        alone = [run(take(rows[i : i + 1])) for i in range(SAMPLE_ROWS)]
    except ModelRunError:
        # The model refuses some number of rows: nothing can be told, so nothing is re-sliced.
        return {name: Layout(name, dtype) for name, dtype in dtypes.items()}
    seen = {name: SampleRuns(many[name], few[name], [one[name] for one in alone]) for name in dtypes}
    found = {name: layout_of(name, dtype, seen[name], fixed, quantised) for name, dtype in dtypes.items()}
    if unlike:
        return found
    return {name: Layout(name, one.dtype) if one.kind == SAME else one for name, one in found.items()}


@dataclass(frozen=True)
class SampleRuns:
    """A tensor, as it was made of sample rows."""

    many: Array
    """Of all of them."""

    few: Array
    """Of all but the last."""

    alone: Sequence[Array]
    """Of each."""


def layout_of(name: str, dtype: str, runs: SampleRuns, fixed: bool = False, quantised: bool = False) -> Layout:
    """The layout of a tensor; `fixed` and `quantised` as in `find_layouts`."""
    many, few, alone, rows = runs.many, runs.few, runs.alone, len(runs.alone)
    if all(_equal(many, other) for other in (few, *alone)):
        return Layout(name, dtype, SAME)
    if many.ndim != few.ndim:
        return Layout(name, dtype)
    axes = [axis for axis in range(many.ndim) if many.shape[axis] != few.shape[axis]]
    if len(axes) != 1:
        return Layout(name, dtype)
    axis = axes[0]
    each, rest = divmod(many.shape[axis], rows)
    if rest or few.shape[axis] != each * (rows - 1):
        return Layout(name, dtype)
    found = Layout(name, dtype, ROWS if each == 1 else FOLDED, axis)
    try:
        parts = found.split(many, rows)
        singles = [found.split(one, 1) for one in alone]
    except ModelRunError:
        return Layout(name, dtype)
    tolerance = QUANTISED_TOLERANCE * _spread(many) if quantised else 0.0
    for row, single in enumerate(singles):
        difference, close = difference_of(parts[row : row + 1], single)
        if not close and not (quantised and difference <= tolerance):
            return Layout(name, dtype)
    return Layout(name, dtype, found.kind, axis, tuple(parts.shape[1:]) if fixed else None)


def _equal(a: Array, b: Array) -> bool:
    return a.shape == b.shape and bool(np.array_equal(a, b, equal_nan=a.dtype.kind == "f"))


def _spread(values: Array) -> float:
    return float(np.ptp(values)) if values.size and values.dtype.kind in "fiu" else 0.0


@dataclass(frozen=True)
class Boundary:
    """What crosses one cut, as blocks: boundary tensors beside the columns that travel with the rows.

    A block is one micro-batch, whose rows have one shape.
    """

    layouts: tuple[Layout, ...]
    carried: pa.Schema
    """Columns that stages pass on: those of `--keep`, and the rows' origin."""

    @cached_property
    def schema(self) -> pa.Schema:
        """Of the blocks: boundary columns, then those carried."""
        return pa.schema([*(layout.field for layout in self.layouts), *self.carried])

    @property
    def sliceable(self) -> bool:
        """Whether part of the rows can be run without the others."""
        return all(layout.kind != WHOLE for layout in self.layouts)

    @property
    def whole(self) -> tuple[str, ...]:
        """Tensors that keep the rows together."""
        return tuple(layout.name for layout in self.layouts if layout.kind == WHOLE)

    def pack(self, values: Mapping[str, Array], carried: pa.RecordBatch) -> pa.RecordBatch:
        """The block of a micro-batch; contiguous tensors with the rows outermost are not copied.

        Raises:
            ModelRunError: a tensor has another shape than the sample showed for that many rows.
        """
        rows = carried.num_rows
        columns = [_column(layout, values[layout.name], rows) for layout in self.layouts]
        columns += [carried.column(name) for name in self.carried.names]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)

    def unpack(self, block: pa.RecordBatch) -> dict[str, Array]:
        """The tensors of a block that `pack` made: views on its columns where the layout allows."""
        return {layout.name: _tensor(layout, block.column(at)) for at, layout in enumerate(self.layouts)}

    def carried_of(self, block: pa.RecordBatch) -> pa.RecordBatch:
        """The columns that travel with the rows."""
        columns = block.columns[len(self.layouts) :]
        return pa.RecordBatch.from_arrays(columns, schema=self.carried)

    def part(self, values: Mapping[str, Array], rows: int, start: int, stop: int) -> dict[str, Array]:
        """The tensors for rows start..stop out of `rows`; only where `sliceable`."""
        parts = {}
        for layout in self.layouts:
            tensor = values[layout.name]
            parts[layout.name] = (
                layout.join(layout.split(tensor, rows)[start:stop]) if layout.by_row and stop - start < rows else tensor
            )
        return parts


def _wire_type(dtype: str) -> str:
    return "uint8" if dtype.startswith("float8") else _WIRE.get(dtype, dtype)


def _column(layout: Layout, values: Array, rows: int) -> pa.Array:
    if layout.dtype == "bfloat16":
        values = bfloat16_bits(values)
    field = layout.field
    if not layout.by_row:
        return _ragged(values.reshape(-1), [values.size] + [0] * (rows - 1), values.shape, 1, field.type)
    parts = layout.split(values, rows)
    if pa.types.is_struct(field.type):
        each = parts.size // rows
        return _ragged(np.ascontiguousarray(parts).reshape(-1), [each] * rows, parts.shape[1:], rows, field.type)
    if parts.shape[1:] != layout.row_shape:
        raise ModelRunError(
            f"tensor {layout.name!r} has the shape {list(parts.shape[1:])} a row "
            f"where the sample had {list(layout.row_shape or ())}"
        )
    return to_arrow(parts, field)


def _ragged(flat: Array, counts: list[int], shape: tuple[int, ...], shaped: int, kind: pa.DataType) -> pa.Array:
    """A struct column of these numbers of values a row; the first `shaped` rows say the shape."""
    sizes = [len(shape)] * shaped + [0] * (len(counts) - shaped)
    dims = pa.array(np.tile(np.asarray(shape, np.int32), shaped), pa.int32())
    values = pa.ListArray.from_arrays(_offsets(counts), _flat(flat, kind.field("values").type.value_type))
    shapes = pa.ListArray.from_arrays(_offsets(sizes), dims)
    return pa.StructArray.from_arrays([values, shapes], fields=[kind.field(i) for i in range(2)])


def _flat(values: Array, kind: pa.DataType) -> pa.Array:
    return to_arrow(np.ascontiguousarray(values), pa.field("values", kind))


def _offsets(counts: Sequence[int]) -> pa.Array:
    ends = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    if ends[-1] > np.iinfo(np.int32).max:
        raise ValueError(f"{ends[-1]:,} values are too many for one block: give a smaller --micro_batch")
    return pa.array(ends.astype(np.int32))


def _tensor(layout: Layout, column: pa.Array) -> Array:
    rows = len(column)
    if pa.types.is_struct(column.type):
        flat, shapes = column.flatten()
        values = unpack(flat).values
        shape = tuple(shapes[0].as_py())
        values = values.reshape(rows, *shape) if layout.by_row else values.reshape(shape)
    else:
        values = to_numpy(column)
    wanted = numpy_dtype(_wire_type(layout.dtype))
    if values.dtype != wanted:
        values = values.astype(wanted)
    if layout.dtype == "bfloat16":
        values = from_bfloat16_bits(values)
    return layout.join(values) if layout.by_row else values
