"""The columns that a model's outputs become: what the sample rows gave decides, what the model declares is a hint."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from beamsplit.models.graph.signature import Dim, Signature, TensorSpec
from beamsplit.models.scoring.scorer import Array, OutputColumn
from beamsplit.models.values.tensors import output_field


@dataclass(frozen=True)
class SeenOutputs:
    """What runs of sample rows told of a model's outputs."""

    axes: Mapping[str, int | None] | None
    """Of each output the axis of the rows; None where it was not run."""

    values: Mapping[str, Array] | None
    """What a run gave, of one row where rows are run one by one; None where it was not run."""

    lists: Collection[str] = ()
    """Outputs as long as the values of the rows make them (detections): what a row gives is its own, and an axis that
    happens to be 1 long is not the batch of one row, unless it is declared as that beside others."""


def output_columns(
    signature: Signature,
    seen: SeenOutputs,
    *,
    row_by_row: bool,
    steady: bool,
    symbols: Collection[Dim] = (1,),
) -> tuple[OutputColumn, ...]:
    """A column an output.

    Args:
        signature: its outputs as declared; exporters record wrong ranks and sizes.
        seen: what running it told of them.
        row_by_row: whether every row is run alone.
        steady: whether all rows go in with one shape and come out with one.
        symbols: what inputs declare where they carry the rows.
    """
    columns = []
    for spec in signature.outputs:
        shape = None if seen.values is None else seen.values[spec.name].shape
        axis: int | None = 0
        if row_by_row:
            # A leading axis of 1 is the batch of one row; any other shape is the row's output as it is.
            first = (shape if shape is not None else spec.shape or ())[:1]
            axis = 0 if first == (1,) else None
            declared = spec.shape if spec.shape and len(spec.shape) > 1 else (None,)
            if spec.name in seen.lists and declared[0] not in symbols:
                axis = None
        elif seen.axes is not None:
            axis = seen.axes[spec.name]
        row_shape, ndim = _row_shape(spec, axis, shape, steady and spec.name not in seen.lists)
        columns.append(OutputColumn(spec.name, output_field(spec.name, spec.dtype, row_shape, ndim), axis, row_shape))
    return tuple(columns)


def _row_shape(
    spec: TensorSpec, axis: int | None, seen: tuple[int, ...] | None, steady: bool
) -> tuple[tuple[int, ...] | None, int]:
    """(shape of one row's slice, or None where it may vary; its number of axes)."""
    declared = spec.shape
    if seen is None:
        dims = _without(declared if declared is not None else (None,), axis)
        return _fixed(dims), len(dims)
    sizes = _without(seen, axis)
    if steady:
        return _fixed(sizes), len(sizes)
    kept = _without(declared, axis) if declared is not None and len(declared) == len(seen) else None
    return (_fixed(sizes) if kept == sizes else None), len(sizes)


def _without(shape: tuple[Dim, ...], axis: int | None) -> tuple[Dim, ...]:
    return tuple(dim for position, dim in enumerate(shape) if position != axis)


def _fixed(dims: tuple[Dim, ...]) -> tuple[int, ...] | None:
    sizes = tuple(dim for dim in dims if isinstance(dim, int))
    return sizes if len(sizes) == len(dims) else None
