"""Inputs that are no columns: a number, zeros or ones of the declared shape, or a .npy file."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np

from models.errors import UsageError
from models.signature import Dim, TensorSpec
from models.tensors import Array, numpy_dtype


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
        text: a number, `true`, `false`, `zeros`, `ones`, a path ending in `.npy`, or any text for a string input.
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
    return Constant(spec.name, spec.dtype, rows_axis, tuple(dims), text, _scalar(spec, text))


def _unknown_shape(spec: TensorSpec, text: str, what: str) -> str:
    return (
        f"--set {spec.name}={text}: the model's input '{spec}' does not say {what}; "
        f"give an array with --set {spec.name}=FILE.npy"
    )


def _scalar(spec: TensorSpec, text: str) -> Array:
    if spec.dtype == "string":
        return np.array(text, dtype=object)
    word = {"zeros": "0", "ones": "1", "true": "1", "false": "0"}.get(text.lower(), text)
    dtype = numpy_dtype(spec.dtype)
    problem = UsageError(
        f"--set {spec.name}={text}: the model's input '{spec}' takes {spec.dtype} values; "
        f"give a number of that type, zeros, ones or a path ending in .npy"
    )
    try:
        if dtype.kind == "f":
            return np.array(float(word), dtype=dtype)
        number = int(word) if word.lstrip("+-").isdigit() else float(word)
    except ValueError:
        raise problem from None
    low, high = (0, 1) if dtype.kind == "b" else (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))
    if number != number or not low <= number <= high or int(number) != number:
        raise problem
    return np.array(int(number), dtype=dtype)


def _from_file(spec: TensorSpec, rows_axis: int | None, path: str, narrow: bool) -> Constant:
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UsageError(
            f"--set {spec.name}={path}: not a readable .npy file of plain values ({error}); write it with numpy.save"
        ) from None
    if not isinstance(array, np.ndarray):
        raise UsageError(f"--set {spec.name}={path}: holds several arrays; write one array with numpy.save")
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
