"""On which axis each input and output of a model carries the rows: guessed from its symbols, settled by running it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from beamsplit.models.graph.signature import Signature, TensorSpec
from beamsplit.models.ort_reason import one_line
from beamsplit.models.running.session import ModelRunError
from beamsplit.models.values.difference import QUANTISED_TOLERANCE, difference_of

Array: TypeAlias = "np.ndarray[Any, Any]"
Run: TypeAlias = Callable[[dict[str, Array]], list[Array]]
"""`Session.run`, or what stands in for it."""

_ROW_NAMES = ("batch", "batch_size", "batchsize", "n", "rows", "bs", "b", "num_rows", "samples", "examples")
_OTHER_NAMES = ("time", "seq", "len", "token", "height", "width", "frame", "step", "channel", "past", "feat")


@dataclass(frozen=True)
class AxesCheck:
    """What running the model showed about one guess of the rows' axes."""

    outputs: dict[str, int | None]
    """The axis whose size follows the number of rows; None where no axis does, or more than one."""

    independent: bool
    """Whether each row came out the same with others as alone; False where no output carries the rows."""

    largest_difference: float
    """Largest absolute difference of a number between a row with others and alone; inf where shapes or texts differ."""

    message: str
    """Why the guess does not hold, or holds only loosely, in one line; empty where it simply holds."""


def input_axes_candidates(signature: Signature, constants: frozenset[str] = frozenset()) -> list[dict[str, int | None]]:
    """Which axis of each input carries the rows: guesses, the most plausible first, for `check_axes` to try.

    First come symbols that all inputs with dynamic dimensions share (`batch`, `N`, ... before others, `time`,
    `sequence`, ... last), then axis 0, axis 1, ... wherever those are dynamic. An input in `constants`, or
    without dynamic dimensions, gets None. The list is empty where no input has a dynamic dimension.
    """
    varying = [spec for spec in signature.inputs if spec.name not in constants and _dynamic_axes(spec)]
    if not varying:
        return []
    guesses: list[tuple[int, dict[str, int | None]]] = []
    for symbol in _shared_symbols(varying):
        axes = {spec.name: spec.shape.index(symbol) for spec in varying if spec.shape}
        guesses.append((_name_rank(symbol), dict(axes)))
    deepest = max(len(spec.shape or (None,)) for spec in varying)
    for axis in range(deepest):
        by_place = {}
        for spec in varying:
            dynamic = _dynamic_axes(spec)
            by_place[spec.name] = axis if axis in dynamic else dynamic[0]
        if axis in by_place.values():
            guesses.append((1 if axis == 0 else 2, dict(by_place)))
    ordered: list[dict[str, int | None]] = []
    for _, guess in sorted(guesses, key=lambda ranked: ranked[0]):
        full = {spec.name: guess.get(spec.name) for spec in signature.inputs}
        if full not in ordered:
            ordered.append(full)
    return ordered


def named_rows(signature: Signature, guess: Mapping[str, int | None]) -> bool:
    """Whether the model's own names (`batch`, `N`, ...) say that a guess is right: of every input that has rows."""
    shapes = {spec.name: spec.shape for spec in signature.inputs}
    names = [(shapes.get(name) or ())[axis : axis + 1] for name, axis in guess.items() if axis is not None]
    return bool(names) and all(name and isinstance(name[0], str) and _name_rank(name[0]) == 0 for name in names)


def _dynamic_axes(spec: TensorSpec) -> list[int]:
    if spec.shape is None:
        return [0]
    return [axis for axis, size in enumerate(spec.shape) if not isinstance(size, int)]


def _shared_symbols(specs: Sequence[TensorSpec]) -> list[str]:
    """Symbols that occur exactly once in the shape of every one, by where they stand in the first."""
    first = specs[0].shape or ()
    return [
        size
        for size in first
        if isinstance(size, str) and all(spec.shape is not None and spec.shape.count(size) == 1 for spec in specs)
    ]


def _name_rank(symbol: str) -> int:
    """0 for a name that means rows, 3 for one that means something else, 1 for the rest (level with axis 0)."""
    name = symbol.lower()
    if name in _ROW_NAMES or "batch" in name:
        return 0
    return 3 if any(word in name for word in _OTHER_NAMES) else 1


def check_axes(
    run: Run,
    feeds: Mapping[str, Array],
    axes: Mapping[str, int | None],
    output_names: Sequence[str],
    *,
    quantised: bool = False,
    alone: Sequence[Sequence[Array]] = (),
) -> AxesCheck:
    """Try a guess: run all rows, the first two, and each alone, and compare.

    A difference counts if it is above `ATOL + RTOL * |value|` (`HALF_TOLERANCE` for float16); integers, bools and
    strings must be equal. With `quantised` (`graph.quantises_at_run`) the scales are set from all values of a
    run, so rows do change one another by a few steps of 1/255: floats may then differ by `QUANTISED_TOLERANCE`
    of the output's spread over all rows, and the message says by how much they did. Mixing rows on purpose
    (a mean over them) moves whole multiples of the spread and is still found.

    Args:
        run: runs the model on arrays by input name.
        feeds: for each input an array with unlike rows on its axis in `axes`, at least 3 of them, or 2 where it is
            known what each gives alone; where that axis is None it is given as it is.
        axes: the guess, from `input_axes_candidates`.
        output_names: in the order of what `run` returns.
        quantised: whether the model sets quantisation scales from the values it is run on.
        alone: what each row gives alone, where it has been run.
    """
    rows = next((feeds[name].shape[axis] for name, axis in axes.items() if axis is not None), 0)
    if rows < (2 if len(alone) == rows else 3):
        raise ValueError(f"rows is {rows}, but at least 3 are needed to tell a row from its neighbours")
    nothing: dict[str, int | None] = dict.fromkeys(output_names)
    whole, reason = _try(run, feeds)
    if whole is None:
        return AxesCheck(nothing, False, math.inf, f"the model fails on {rows} rows: {reason}")
    # Two rows are all rows where there are no more.
    pair, pair_reason = _try(run, _rows_of(feeds, axes, 0, 2)) if rows > 2 else (None, "")
    singles = [list(outputs) for outputs in alone] if len(alone) == rows else []
    for row in range(len(singles), rows):
        single, reason = _try(run, _rows_of(feeds, axes, row, row + 1))
        if single is None:
            break
        singles.append(single)
    # A model may refuse a size (some need an even number, some more than one row): any two unlike sizes will do.
    other, size = (pair, 2) if pair is not None else (singles[0] if singles else None, 1)
    if other is None:
        return AxesCheck(nothing, False, math.inf, f"the model runs on {rows} rows, not on 1 or 2: {pair_reason}")
    outputs = {
        name: _rows_axis(many, few, rows, size) for name, many, few in zip(output_names, whole, other, strict=True)
    }
    if all(axis is None for axis in outputs.values()):
        return AxesCheck(outputs, False, math.inf, "no output has one axis that follows the number of rows")
    parts = [(slice(row, row + 1), single) for row, single in enumerate(singles)] if len(singles) == rows else []
    if pair is not None:
        parts.append((slice(0, 2), pair))
    return _compare(outputs, whole, parts, quantised, alone=len(singles) == rows, reason=reason)


def _compare(
    outputs: dict[str, int | None],
    whole: Sequence[Array],
    parts: Sequence[tuple[slice, Sequence[Array]]],
    quantised: bool,
    *,
    alone: bool,
    reason: str,
) -> AxesCheck:
    largest = 0.0
    loose = ""
    for position, (name, axis) in enumerate(outputs.items()):
        if axis is None:
            continue
        everything = whole[position]
        for taken, part in parts:
            together = everything[(slice(None),) * axis + (taken,)]
            difference, close = difference_of(together, part[position])
            largest = max(largest, difference)
            if close:
                continue
            spread = _spread(everything)
            if not (quantised and difference <= QUANTISED_TOLERANCE * spread):
                message = f"output {name} of a row changes with the rows beside it, by up to {difference:.3g}"
                return AxesCheck(outputs, False, largest, message)
            loose = (
                f"the model quantises at run: a row changes with the rows beside it by up to {largest:.3g} "
                f"({100 * largest / spread:.1f}% of the spread of output {name})"
            )
    if not alone:
        return AxesCheck(outputs, False, largest, f"the model fails on one row alone: {reason}")
    return AxesCheck(outputs, True, largest, loose)


def verify_rows(
    run_original: Run, run_dynamic: Run, feeds: Mapping[str, Array], constants: frozenset[str] = frozenset()
) -> str | None:
    """None if the model made dynamic gives for rows together what the original gives for each alone, else why not.

    Args:
        run_original: the model as it was, for one row (first dimension 1).
        run_dynamic: the rewritten model.
        feeds: 2 or 3 unlike rows on axis 0 of each input; those in `constants` are given as they are.
        constants: names of inputs that carry no rows.
    """
    axes: dict[str, int | None] = {name: None if name in constants else 0 for name in feeds}
    rows = next(len(feeds[name]) for name, axis in axes.items() if axis == 0)
    together, reason = _try(run_dynamic, feeds)
    if together is None:
        return f"the graph cannot take more than one row: {reason}"
    for row in range(rows):
        alone, reason = _try(run_original, _rows_of(feeds, axes, row, row + 1))
        if alone is None:
            return f"the model fails on one row: {reason}"
        for i, (whole, single) in enumerate(zip(together, alone, strict=True)):
            if whole.shape != (rows, *single.shape[1:]) or single.shape[:1] != (1,):
                return f"output {i} has the shape {whole.shape} for {rows} rows and {single.shape} for one"
            difference, close = difference_of(whole[row : row + 1], single)
            if not close:
                return f"output {i} of a row changes by up to {difference:.3g} when other rows are run with it"
    return None


def _try(run: Run, feeds: Mapping[str, Array]) -> tuple[list[Array] | None, str]:
    """What the run gave, or None and the reason that it failed."""
    try:
        return [np.asarray(output) for output in run(dict(feeds))], ""
    except ModelRunError as error:
        return None, one_line(error)


def _rows_of(feeds: Mapping[str, Array], axes: Mapping[str, int | None], start: int, stop: int) -> dict[str, Array]:
    taken = {}
    for name, value in feeds.items():
        axis = axes.get(name)
        if axis is None:
            taken[name] = value
        else:
            taken[name] = np.ascontiguousarray(value[(slice(None),) * axis + (slice(start, stop),)])
    return taken


def _rows_axis(many: Array, few: Array, rows: int, size: int) -> int | None:
    """The only axis that is `rows` long in one run and `size` in the other."""
    if many.ndim != few.ndim:
        return None
    found = [a for a in range(many.ndim) if (many.shape[a], few.shape[a]) == (rows, size)]
    return found[0] if len(found) == 1 else None


def _spread(values: Array) -> float:
    finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    return float(np.ptp(finite.astype(np.float64))) if finite.size and finite.dtype.kind in "fiu" else 0.0
