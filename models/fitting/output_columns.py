"""The columns that a model's outputs become: what the sample rows gave decides, what the model declares is a hint."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from beamsplit.models.graph.model_file import varies_with_data
from beamsplit.models.graph.signature import Dim, Signature, TensorSpec
from beamsplit.models.scoring.scorer import Array, OutputColumn
from beamsplit.models.values.tensors import output_field


def output_columns(
    path: str,
    signature: Signature,
    axes: Mapping[str, int | None] | None,
    seen: Mapping[str, Array] | None,
    *,
    row_by_row: bool,
    inputs_fixed: bool,
    lists: Collection[str] = (),
    symbols: Collection[Dim] = (1,),
) -> tuple[OutputColumn, ...]:
    """A column an output.

    Args:
        path: of the model.
        signature: its outputs as declared; exporters record wrong ranks and sizes.
        axes: of each output the axis of the rows, as running it told; None where it was not run.
        seen: what a run of sample rows gave, of one row where `row_by_row`; None where it was not run.
        row_by_row: whether every row is run alone.
        inputs_fixed: whether all rows go in with one shape.
        lists: outputs as long as the values of the rows make them (detections): what a row gives is its own, and an
            axis that happens to be 1 long is not the batch of one row, unless it is declared as that beside others.
        symbols: what inputs declare where they carry the rows.
    """
    columns = []
    steady = inputs_fixed and not varies_with_data(path)
    for spec in signature.outputs:
        shape = None if seen is None else seen[spec.name].shape
        axis: int | None = 0
        if row_by_row:
            # A leading axis of 1 is the batch of one row; any other shape is the row's output as it is.
            first = (shape if shape is not None else spec.shape or ())[:1]
            axis = 0 if first == (1,) else None
            declared = spec.shape if spec.shape and len(spec.shape) > 1 else (None,)
            if spec.name in lists and declared[0] not in symbols:
                axis = None
        elif axes is not None:
            axis = axes[spec.name]
        row_shape, ndim = _row_shape(spec, axis, shape, steady and spec.name not in lists)
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
