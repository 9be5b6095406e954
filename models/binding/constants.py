"""Inputs that are no columns: a number, zeros or ones of the declared shape, or a .npy file."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

import numpy as np

from beamsplit.models.errors import UsageError
from beamsplit.models.free_memory import check_room
from beamsplit.models.graph.signature import Dim, TensorSpec
from beamsplit.models.values.npy_file import read_npy
from beamsplit.models.values.tensors import Array, numpy_dtype


@dataclass(frozen=True)
class Constant:
    """An input with the same value in every run, but for sizes that follow the run's rows."""

    name: str
    """The input's name."""

    dtype: str
    """As in `TensorSpec.dtype`."""

    rows_axis: int | None
    """The axis sized with the rows of each run; None where there is none."""

    dims: tuple[Dim, ...]
    """All dimensions, the rows axis too (None); symbols are sizes that other inputs of the run have."""

    source: str
    """What the user typed, e.g. `"zeros"` or `"16000"`."""

    value: Array = field(compare=False)
    """What fills the shape: a single value, or the array of a .npy file (its rows axis has size 1)."""

    def __str__(self) -> str:
        """E.g. `sr: int64[] = 16000`."""
        shape = ["?" if dim is None else str(dim) for dim in self.dims]
        if self.rows_axis is not None:
            shape[self.rows_axis] = "rows"
        return f"{self.name}: {self.dtype}[{', '.join(shape)}] = {self.source}"

    def sized(self, rows: int, sizes: Mapping[str, int]) -> Array:
        """The input for a run of `rows` rows, in which each symbol has the size given."""
        shape = [sizes[dim] if isinstance(dim, str) else dim for dim in self.dims if dim is not None]
        if self.rows_axis is not None:
            shape.insert(self.rows_axis, rows)
        return np.ascontiguousarray(np.broadcast_to(self.value, shape)).reshape(shape)


def constant(
    spec: TensorSpec, rows_axis: int | None, text: str, *, symbols: Collection[str] = (), narrow: bool = False
) -> Constant:
    """Read one `--set NAME=TEXT`.

    Args:
        spec: the input.
        rows_axis: the axis that carries the rows, or None.
        text: a number, `true`, `false`, `zeros`, `ones`, several of them as `1,2,3` (one row, in the order of
            memory), a path ending in `.npy`, or any text for a string input.
        symbols: symbolic dimensions whose size the inputs bound to columns tell in each run.
        narrow: convert a .npy file of a wider type.

    Raises:
        UsageError: the text is no such value, or the shape is not known.
    """
    numpy_dtype(spec.dtype)
    if text.endswith(".npy"):
        return _from_file(spec, rows_axis, text, narrow)
    dims = list(spec.shape or ())
    if spec.shape is None and (text in ("zeros", "ones") or rows_axis is not None):
        raise UsageError(_unknown_shape(spec, text, "its shape"))
    for axis, dim in enumerate(dims):
        if axis == rows_axis:
            dims[axis] = None
        elif not isinstance(dim, int) and dim not in symbols:
            raise UsageError(_unknown_shape(spec, text, f"the size of its dimension {axis} ({dim or '?'})"))
    _check_size(spec, text, dims)
    value = _scalar(spec, text)
    if value.ndim:
        value = _filling(spec, text, dims, rows_axis, value)
        dims = list(value.shape) if spec.shape is None else dims
    return Constant(spec.name, spec.dtype, rows_axis, tuple(dims), text, value)


def _check_size(spec: TensorSpec, text: str, dims: list[Dim]) -> None:
    """Raise for a shape that cannot be filled, of one row."""
    values = math.prod(dim for dim in dims if isinstance(dim, int))
    fix = "export the model with an input of less, or give it another way"
    check_room(values * numpy_dtype(spec.dtype).itemsize, f"--set {spec.name}={text}: the model's input '{spec}'", fix)


def _unknown_shape(spec: TensorSpec, text: str, what: str) -> str:
    return (
        f"--set {spec.name}={text}: the model's input '{spec}' does not say {what}; "
        f"give an array with --set {spec.name}=FILE.npy"
    )


def _scalar(spec: TensorSpec, text: str) -> Array:
    """The one value of a text, or the values of a list."""
    if spec.dtype == "string":
        return np.array(text, dtype=object)
    listed = text.strip()
    if "," not in listed and not listed.startswith("["):
        return np.array(_number(spec, text, text))
    words = [word.strip() for word in listed.removeprefix("[").removesuffix("]").split(",")]
    return np.array([_number(spec, text, word) for word in words])


def _number(spec: TensorSpec, text: str, word: str) -> np.generic[Any]:
    """One number as the input's type, exactly where that is of integers.

    Raises:
        UsageError: it is none, or the type does not hold it.
    """
    dtype = numpy_dtype(spec.dtype)
    problem = UsageError(
        f"--set {spec.name}={text}: the model's input '{spec}' takes {spec.dtype} values; "
        f"give a number of that type, several as 1,2,3, zeros, ones or a path ending in .npy"
    )
    plain = {"zeros": "0", "ones": "1", "true": "1", "false": "0"}.get(word.lower(), word)
    try:
        number = Decimal(plain)
        if "_" in plain or number.is_snan():
            raise problem
    except InvalidOperation:
        raise problem from None
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            value: np.generic[Any] = np.float64(plain).astype(dtype)
        if np.isinf(value) and number.is_finite():
            raise problem
        return value
    low, high = (0, 1) if dtype.kind == "b" else (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))
    if not number.is_finite() or not low <= number <= high or number != number.to_integral_value():
        raise problem
    whole: np.generic[Any] = dtype.type(int(number))
    return whole


def _filling(spec: TensorSpec, text: str, dims: list[Dim], rows_axis: int | None, value: Array) -> Array:
    """A list as the input's shape, the rows axis with size 1.

    Raises:
        UsageError: the shape has another number of values, or is not known.
    """
    if spec.shape is None:
        return value
    wanted = [1 if axis == rows_axis else dim for axis, dim in enumerate(dims)]
    sizes = [dim for dim in wanted if isinstance(dim, int)]
    if len(sizes) == len(wanted) and np.prod(sizes, dtype=np.int64) == value.size:
        return value.reshape(sizes)
    raise UsageError(
        f"--set {spec.name}={text}: that is {value.size} values, the model's input is '{spec}'"
        + ("" if rows_axis is None else f" with the rows on axis {rows_axis}")
        + "; give as many as one row has, or an array with --set "
        + f"{spec.name}=FILE.npy"
    )


def _from_file(spec: TensorSpec, rows_axis: int | None, path: str, narrow: bool) -> Constant:
    array = read_npy(path, f"--set {spec.name}={path}")
    dtype = numpy_dtype(spec.dtype)
    has = "string" if array.dtype.kind in "UO" else array.dtype.name
    if (has == "string") != (spec.dtype == "string") or array.dtype.kind not in "biufU":
        raise UsageError(
            f"--set {spec.name}={path}: the file holds {has}, the model's input '{spec}' takes {spec.dtype}; "
            f"save it as {spec.dtype}"
        )
    if spec.dtype != "string" and not np.can_cast(array.dtype, dtype, "safe") and not narrow:
        raise UsageError(
            f"--set {spec.name}={path}: the file holds {has}, the model's input '{spec}' takes {spec.dtype}; "
            "save it with that type, or add --narrow"
        )
    if rows_axis is not None and array.ndim >= rows_axis and (spec.shape is None or array.ndim < len(spec.shape)):
        array = np.expand_dims(array, rows_axis)
    wanted: list[Dim] = list(array.shape if spec.shape is None else spec.shape)
    if rows_axis is not None and rows_axis < len(wanted):
        wanted[rows_axis] = 1
    fits = array.ndim == len(wanted) and all(
        not isinstance(dim, int) or dim == size for dim, size in zip(wanted, array.shape, strict=True)
    )
    if not fits:
        raise UsageError(
            f"--set {spec.name}={path}: the file's shape is {list(array.shape)}, the model's input is '{spec}'"
            + ("" if rows_axis is None else f" with the rows on axis {rows_axis}, where the file has 1 or no axis")
            + "; save an array of that shape"
        )
    kept: list[Dim] = list(array.shape)
    if rows_axis is not None:
        kept[rows_axis] = None
    return Constant(spec.name, spec.dtype, rows_axis, tuple(kept), path, np.asarray(array, dtype=dtype))
