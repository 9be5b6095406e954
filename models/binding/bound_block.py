"""A block of rows as the arrays that a model takes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from beamsplit.models.binding.bound_input import BoundInput
from beamsplit.models.binding.constants import Constant
from beamsplit.models.binding.nulls import null_reason
from beamsplit.models.values.decimals import decimals_as
from beamsplit.models.values.exact import inexact, overflows
from beamsplit.models.values.tensors import NULL, NULL_INSIDE, Array, TensorColumn, numpy_dtype, output_field, unpack


class _Filler(Protocol):
    """Gives one input's values for some rows, the rows on axis 0."""

    shapes: Array | None
    """int64[rows, rank], the shape of each row; None where all have one."""

    def run(self, start: int, stop: int) -> Array: ...

    def pick(self, indices: Array) -> Array: ...

    def bad(self) -> Iterator[tuple[int, str]]: ...


class BoundBlock:
    """The columns of one block, viewed as numpy once, and fed to a model in runs of rows.

    Not for several threads at a time: runs of an input made of several columns share one buffer.
    """

    def __init__(
        self, inputs: Sequence[BoundInput], constants: Sequence[Constant], block: pa.RecordBatch, *, reuse: bool = True
    ) -> None:
        self._inputs = inputs
        self._constants = constants
        self._rows = block.num_rows
        self._fillers: list[_Filler] = [
            _SideBySide(bound, block, reuse) if len(bound.columns) > 1 else _OneColumn(bound, block) for bound in inputs
        ]
        self._symbols = {dim for constant in constants for dim in constant.dims if isinstance(dim, str)}
        self._sized: tuple[tuple[Any, ...], dict[str, Array]] | None = None

    def bad_rows(self) -> list[tuple[int, str]]:
        """(row, reason) of each row that cannot be fed, in order: nulls, wrong lengths, values that do not fit."""
        found: dict[int, str] = {}
        for filler in self._fillers:
            for row, reason in filler.bad():
                found.setdefault(row, reason)
        for row, _, reason in self.conflicts():
            found.setdefault(row, reason)
        return sorted(found.items())

    def groups(self, rows: Array | None = None) -> list[Array] | None:
        """Row positions that can be fed together, because every input has one shape for all of them.

        Args:
            rows: positions to group, ascending, none of them bad; None for all rows of the block.

        Returns:
            None where one group holds them all; else ascending positions, the groups in the order of their
            first rows.
        """
        varying = [filler.shapes for filler in self._fillers if filler.shapes is not None]
        keys = np.concatenate(varying, axis=1) if varying else np.empty((self._rows, 0), np.int64)
        if rows is not None:
            keys = keys[rows]
        if len(keys) < 2 or not (keys != keys[0]).any():
            return None
        codes = np.zeros(len(keys), dtype=np.int64)
        for key in keys.T:
            # Numbered anew after each dimension, so that the codes stay below the number of rows squared.
            codes = codes * (len(keys) + 1) + np.unique(key, return_inverse=True)[1]
            codes = np.unique(codes, return_inverse=True)[1].astype(np.int64)
        order = np.argsort(codes, kind="stable")
        parts = np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)
        parts.sort(key=lambda part: int(part[0]))
        return parts if rows is None else [np.asarray(rows)[part] for part in parts]

    def feeds(self, start: int, stop: int) -> dict[str, Array]:
        """All inputs for the consecutive rows start..stop, which are of one shape and not bad.

        C-contiguous, the rows on each input's rows axis. The arrays are views or a shared buffer: not to be written
        to, and valid until the next call (with `reuse=False` for good).
        """
        return self._feeds([filler.run(start, stop) for filler in self._fillers], stop - start)

    def take(self, indices: Array) -> dict[str, Array]:
        """`feeds` for rows anywhere in the block, in the order given."""
        indices = np.asarray(indices)
        count = len(indices)
        if count and indices[-1] - indices[0] == count - 1 and (np.diff(indices) == 1).all():
            return self.feeds(int(indices[0]), int(indices[-1]) + 1)
        return self._feeds([filler.pick(indices) for filler in self._fillers], count)

    def _feeds(self, arrays: list[Array], count: int) -> dict[str, Array]:
        fed: dict[str, Array] = {}
        sizes: dict[str, int] = {}
        for bound, array in zip(self._inputs, arrays, strict=True):
            if self._symbols:
                for dim, size in zip(bound.dims or (), array.shape[1:], strict=False):
                    if isinstance(dim, str):
                        sizes.setdefault(dim, size)
            if bound.rows_axis:
                array = np.ascontiguousarray(np.moveaxis(array, 0, bound.rows_axis))
            fed[bound.name] = array
        if self._constants:
            key = (count, *(sizes.get(symbol) for symbol in sorted(self._symbols)))
            if self._sized is None or self._sized[0] != key:
                self._sized = key, {constant.name: constant.sized(count, sizes) for constant in self._constants}
            fed.update(self._sized[1])
        return fed

    def conflicts(self) -> list[tuple[int, str, str]]:
        """(row, name, reason) where two inputs give dimensions of one name unlike sizes."""
        return list(self._conflicts())

    def _conflicts(self) -> Iterator[tuple[int, str, str]]:
        seen: dict[str, tuple[str, Array | int]] = {}
        for bound, filler in zip(self._inputs, self._fillers, strict=True):
            for axis, dim in enumerate(bound.dims or ()):
                if not isinstance(dim, str):
                    continue
                size = bound.row_shape[axis] if filler.shapes is None else filler.shapes[:, axis]
                assert size is not None
                name, first = seen.setdefault(dim, (bound.name, size))
                # What one input calls alike though it is not names nothing.
                if name == bound.name or (isinstance(size, int) and isinstance(first, int)):
                    continue
                sizes, firsts = np.broadcast_to(size, self._rows), np.broadcast_to(first, self._rows)
                for row in np.flatnonzero(sizes != firsts).tolist():
                    yield row, dim, f"{dim!r} is {firsts[row]} in the input {name!r} but {sizes[row]} in {bound.name!r}"


class _SideBySide:
    """Several scalar columns as one array [rows, columns]."""

    shapes: Array | None = None

    def __init__(self, bound: BoundInput, block: pa.RecordBatch, reuse: bool) -> None:
        self._bound = bound
        self._reuse = reuse
        self._columns = [_unpacked(bound, at, block) for at in range(len(bound.columns))]
        self._values = [_filled(bound, at, column).reshape(block.num_rows) for at, column in enumerate(self._columns)]
        self._row_shape = tuple(size or 0 for size in bound.row_shape)
        self._buffer = np.empty((0, len(bound.columns)), dtype=numpy_dtype(bound.dtype))

    def run(self, start: int, stop: int) -> Array:
        # Strided writes column by column beat stacking, and transposing a [columns, rows] buffer costs double.
        return self._fill(stop - start, slice(start, stop))

    def pick(self, indices: Array) -> Array:
        return self._fill(len(indices), indices)

    def _fill(self, count: int, rows: slice | Array) -> Array:
        if self._reuse and len(self._buffer) < count:
            self._buffer = np.empty((count, len(self._values)), dtype=self._buffer.dtype)
        filled = self._buffer[:count] if self._reuse else np.empty((count, len(self._values)), self._buffer.dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            for axis, values in enumerate(self._values):
                filled[:, axis] = values[rows]
        return filled.reshape(count, *self._row_shape)

    def bad(self) -> Iterator[tuple[int, str]]:
        for name, column in zip(self._bound.columns, self._columns, strict=True):
            yield from _flaws(name, column.bad, single=True)
            values = column.values.reshape(-1)
            for item in _misfits(values, self._bound).tolist():
                yield item, _misfit_reason(values[item], name, self._bound)


class _OneColumn:
    """One column: scalars, lists, nested lists or tensors."""

    def __init__(self, bound: BoundInput, block: pa.RecordBatch) -> None:
        self._bound = bound
        self._dtype = numpy_dtype(bound.dtype)
        self._column = _unpacked(bound, 0, block)
        self._values = _filled(bound, 0, self._column)
        self._single = self._column.offsets is None and self._column.values.ndim == 1
        self._folded: Array | None = None
        self._fits: Array | None = None
        if self._column.shapes is not None and self._column.offsets is not None:
            self._folded, self._fits = bound.fold.apply(self._column.shapes, np.diff(self._column.offsets))
        self.shapes = None if bound.fold.fixed else self._folded

    def run(self, start: int, stop: int) -> Array:
        offsets = self._column.offsets
        rows = slice(start, stop) if offsets is None else slice(offsets[start], offsets[stop])
        return self._shaped(self._values[rows], stop - start, start)

    def pick(self, indices: Array) -> Array:
        offsets = self._column.offsets
        if offsets is None:
            return self._shaped(self._values[indices], len(indices), 0)
        first = int(indices[0]) if len(indices) else 0
        size = math.prod(self._shape(len(indices), first))
        positions = offsets[indices][:, None] + np.arange(size)
        return self._shaped(self._values[positions], len(indices), first)

    def _shape(self, count: int, first: int) -> tuple[int, ...]:
        if self.shapes is None or count == 0:
            return tuple(size or 0 for size in self._bound.row_shape)
        return tuple(self.shapes[first].tolist())

    def _shaped(self, values: Array, count: int, first: int) -> Array:
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(values, dtype=self._dtype, order="C").reshape(count, *self._shape(count, first))

    def bad(self) -> Iterator[tuple[int, str]]:
        name = self._bound.columns[0]
        yield from _flaws(name, self._column.bad, self._single)
        if self._fits is not None and self._column.shapes is not None:
            for row in np.flatnonzero(~self._fits).tolist():
                yield row, self._unfit_reason(name, self._column.shapes[row].tolist())
        values, offsets = self._column.values, self._column.offsets
        items = _misfits(values, self._bound)
        if items.size:
            width = math.prod(values.shape[1:])
            owners = items // width if offsets is None else np.searchsorted(offsets, items, side="right") - 1
            rows, firsts = np.unique(owners, return_index=True)
            for row, item in zip(rows.tolist(), items[firsts].tolist(), strict=True):
                yield row, _misfit_reason(values.reshape(-1)[item], name, self._bound)

    def _unfit_reason(self, name: str, has: list[int]) -> str:
        wants = [size for size in self._bound.row_shape]
        if len(has) == 1 and None not in wants:
            return f"column {name!r} holds a list of {has[0]} where the model wants {math.prod(s or 0 for s in wants)}"
        wanted = ", ".join("?" if size is None else str(size) for size in wants)
        return f"column {name!r} has shape {has} where the model wants [{wanted}]"


def _unpacked(bound: BoundInput, at: int, block: pa.RecordBatch) -> TensorColumn:
    column = block.column(bound.columns[at])
    if pa.types.is_null(column.type):
        column = pa.nulls(len(column), output_field("", bound.dtype, ()).type)
    if pa.types.is_decimal(column.type):
        return _of_decimals(bound, at, column)
    return unpack(column, to_fill=bound.null_in(at) is not None)


def _of_decimals(bound: BoundInput, at: int, column: pa.Array) -> TensorColumn:
    values, inexact_rows = decimals_as(column, bound.dtype)
    bad: list[tuple[Array, str]] = []
    nulls = None
    if column.null_count:
        nulls = np.asarray(column.is_null().to_numpy(zero_copy_only=False), dtype=bool)
        if bound.null_in(at) is None:
            bad, nulls = [(np.flatnonzero(nulls), NULL)], None
    if inexact_rows.size and (bound.exact or not bound.dtype.startswith("float")):
        rounds = "; --narrow rounds it" if bound.dtype.startswith("float") else ""
        bad.append((inexact_rows, f"a decimal that {bound.dtype} does not hold{rounds},"))
    elif bound.dtype.startswith("float") and np.isinf(values).any():
        bad.append((np.flatnonzero(np.isinf(values)), f"a decimal that {bound.dtype} does not hold"))
    return TensorColumn(values, None, None, bad, nulls)


def _filled(bound: BoundInput, at: int, column: TensorColumn) -> Array:
    """The values that are fed: those of the column, and what stands for its nulls, which its own type may not hold."""
    if column.nulls is None:
        return column.values
    with np.errstate(over="ignore", invalid="ignore"):
        values = column.values.astype(numpy_dtype(bound.dtype))
    values[column.nulls] = bound.null_in(at)
    return values


def _flaws(name: str, flaws: list[tuple[Array, str]], single: bool) -> Iterator[tuple[int, str]]:
    """The reasons of bad rows; `single`: the column holds single values, not lists."""
    for rows, flaw in flaws:
        can_fill = flaw == (NULL if single else NULL_INSIDE)
        reason = null_reason(name, flaw) if can_fill else f"{flaw} in column {name!r}"
        for row in rows.tolist():
            yield row, reason


def _misfit_reason(value: Any, name: str, bound: BoundInput) -> str:
    beyond = overflows(np.asarray(value).reshape(1), bound.dtype).size > 0
    rounds = "; --narrow rounds it" if bound.dtype.startswith("float") and not beyond else ""
    return f"value {value} in column {name!r} does not fit {bound.dtype}{rounds}"


def _misfits(values: Array, bound: BoundInput) -> Array:
    """Positions, counted in row-major order, of the values that the input's type does not hold."""
    if bound.dtype == "string":
        return np.empty(0, dtype=np.int64)
    if not bound.exact and bound.dtype.startswith("float"):
        return overflows(values, bound.dtype)
    return inexact(values, bound.dtype)
