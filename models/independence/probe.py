"""Where the graph does not prove that rows are independent: change some rows of a run, and see whether others move.

run       a b c d e f      six of the most unlike rows of the sample
again     A b C d E f      every other one replaced: b, d and f must come out the same, bit for bit

Other rows stand at the same places in runs of the same size, so an honest kernel gives the same bits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from models.session import ModelRunError

Array: TypeAlias = "np.ndarray[Any, Any]"
Run: TypeAlias = Callable[[dict[str, Array]], list[Array]]

ROWS = 6
"""Rows of a run, where the sample has as many unlike ones."""

SECONDS = 0.08
"""For all runs but the first few, which are made however long they take."""

ALWAYS = 6
"""Runs that are made in any case: each half replaced by other rows, by huge numbers, and by NaN."""

MOST_BYTES = 32 << 20
"""Of sample rows that are looked at to find unlike ones."""

FEATURES = 64
"""Numbers of a row that are looked at."""


def probe(
    run: Run,
    feeds: Mapping[str, Array],
    axes: Mapping[str, int | None],
    outputs: Sequence[tuple[str, int | None]],
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[str | None, int]:
    """(why rows are known to influence one another, None where nothing shows it; changed runs that were made).

    Args:
        run: runs the model on arrays by input name.
        feeds: of at least two unlike rows, on the axis in `axes`.
        axes: of the inputs; an input with None is given as it is.
        outputs: name and axis of the rows of each output, in the order of what `run` gives; None is not compared.
        clock: seconds.
    """
    rows = next(feeds[name].shape[axis] for name, axis in axes.items() if axis is not None)
    began = clock()
    try:
        whole = run(dict(feeds))
        steady = all(map(_same_bits, whole, run(dict(feeds))))
    except ModelRunError:
        return None, 0  # a run of several rows fails: `check_axes` tells of it
    if not steady:
        return "the same rows give other numbers each time", 0
    halves = [np.arange(first, rows, 2) for first in (0, 1)]
    singles = [np.array([row]) for row in range(rows)]
    done = 0
    for kind, replaced in [*((k, h) for k in KINDS for h in halves), *((k, s) for s in singles for k in KINDS)]:
        if done >= ALWAYS and clock() - began > SECONDS:
            break
        changed = replace_rows(feeds, axes, replaced, kind)
        if changed is None:
            continue
        done += 1
        try:
            made = run(changed)
        except ModelRunError:
            continue  # the model refuses such a row, alone too
        kept = np.delete(np.arange(rows), replaced)
        for (name, axis), before, after in zip(outputs, whole, made, strict=True):
            if axis is not None and not _same_bits(_taken(before, kept, axis), _taken(after, kept, axis)):
                return f"output {name} of a row changes when a row beside it is {KINDS[kind]}", done
    return None, done


KINDS = {
    "other": "another row",
    "huge": "huge",
    "nan": "NaN",
    "inf": "infinite",
    "zero": "0",
    "turned": "reversed",
    "least": "of the least and largest values",
    "small": "a little different",
}
"""What a row is replaced by, and that in words."""


def replace_rows(
    feeds: Mapping[str, Array], axes: Mapping[str, int | None], replaced: Array, kind: str
) -> dict[str, Array] | None:
    """The feeds with some rows replaced; None where that changes nothing."""
    made, differs = dict(feeds), False
    for name, axis in axes.items():
        if axis is None:
            continue
        values = np.moveaxis(np.array(feeds[name]), axis, 0)
        before = values[replaced].copy()
        after = _replaced(values, replaced, kind)
        if after is None:
            continue
        values[replaced] = after
        differs = differs or not _same_bits(before, values[replaced])
        made[name] = np.ascontiguousarray(np.moveaxis(values, 0, axis))
    return made if differs else None


def _replaced(values: Array, replaced: Array, kind: str) -> Array | None:
    own: Array = values[replaced]
    if kind == "other":
        return np.asarray(values[(replaced + 1) % len(values)])
    if kind == "turned":
        flat = own.reshape(len(own), -1)
        return np.ascontiguousarray(flat[:, ::-1]).reshape(own.shape)
    if kind == "least" and values.dtype.kind in "iufb":
        made = np.empty_like(own)
        made[0::2], made[1::2] = values.min(axis=0), values.max(axis=0)
        return made
    if values.dtype.kind not in "f":
        # Of other numbers only those that other rows have are known to be any.
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        if kind == "huge":
            return np.full_like(own, np.finfo(values.dtype).max / 4)
        if kind in ("nan", "inf", "zero"):
            return np.full_like(own, {"nan": np.nan, "inf": np.inf, "zero": 0.0}[kind])
        if kind == "small":
            return np.asarray(own * values.dtype.type(1.25) + values.dtype.type(0.5), values.dtype)
    return None


def _taken(values: Array, rows: Array, axis: int) -> Array:
    return np.take(values, rows, axis=axis) if axis < values.ndim and values.shape[axis] > rows.max() else values


def _same_bits(a: Array, b: Array) -> bool:
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.dtype.kind == "f":
        return bool(np.array_equal(a, b, equal_nan=True))
    return bool(np.array_equal(a, b))


def most_unlike(columns: Sequence[Array], count: int) -> list[int]:
    """Positions of rows that are as unlike one another as can be: each farthest from those before it.

    Args:
        columns: one array an input, with the rows on the first axis.
        count: of positions; fewer where there are not as many unlike rows.
    """
    numbers = _standard(np.concatenate([_numbers(values) for values in columns], axis=1))
    found = [int(np.argmax(np.abs(numbers).sum(axis=1)))]
    apart = np.full(len(numbers), np.inf)
    while len(found) < min(count, len(numbers)):
        apart = np.minimum(apart, np.square(numbers - numbers[found[-1]]).sum(axis=1))
        farthest = int(np.argmax(apart))
        if apart[farthest] <= 0:
            break
        found.append(farthest)
    return found


def _numbers(values: Array) -> Array:
    """[rows, features] of what tells rows apart."""
    flat = values.reshape(len(values), -1)
    if flat.dtype.kind not in "iufb":
        codes = [np.unique(column.astype(str), return_inverse=True)[1] for column in _some(flat).T]
        return np.stack(codes, axis=1).astype(np.float64) if codes else np.zeros((len(values), 1))
    some = _some(flat).astype(np.float64)
    if not flat.shape[1]:
        return np.zeros((len(values), 1))
    odd = ~np.isfinite(some)
    some = np.sign(some) * np.log1p(np.abs(np.where(odd, 0.0, some)))
    return np.concatenate([some, odd.sum(axis=1, keepdims=True), some.std(axis=1, keepdims=True)], axis=1)


def _some(flat: Array) -> Array:
    step = max(1, flat.shape[1] // FEATURES)
    return np.asarray(flat[:, ::step][:, :FEATURES])


def _standard(numbers: Array) -> Array:
    numbers = np.nan_to_num(numbers, nan=0.0, posinf=1e3, neginf=-1e3)
    spread = numbers.std(axis=0)
    return np.asarray((numbers - numbers.mean(axis=0)) / np.where(spread > 0, spread, 1.0))
