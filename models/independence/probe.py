"""Where the graph does not prove that rows are independent: change some rows of a run, and see whether others move.

run       a b c d e f      six of the most unlike rows of the sample
again     A b C d E f      every other one replaced: b, d and f must come out the same, bit for bit

Other rows stand at the same places in runs of the same size, so an honest kernel gives the same bits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from beamsplit.models.independence.replaced import KINDS, bases, replace_rows, same_bits
from beamsplit.models.independence.rows_axis import Array, Run
from beamsplit.models.running.session import ModelRunError, RunTimeoutError

ROWS = 6
"""Rows of a run, where the sample has as many unlike ones."""

SECONDS = 0.08
"""For all runs but the first few, which are made however long they take."""

ALWAYS = 8
"""Runs that are made in any case: each half replaced by other rows, by what is far above and far below, and by NaN."""

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
    done = 0
    late: set[str] = set()
    """Kinds of rows on which the model did not return: each more would take as long to be stopped."""
    for base in bases(feeds, axes):
        try:
            whole = run(dict(base))
            steady = all(map(same_bits, whole, run(dict(base))))
        except ModelRunError:
            # A run of several rows of the sample fails: `check_axes` tells of it. Made-up rows need not be right.
            continue
        if not steady:
            return "the same rows give other numbers each time", 0
        for tried, (kind, replaced) in enumerate(_replacements(rows)):
            if tried >= ALWAYS and clock() - began > SECONDS:
                break
            if kind in late:
                continue
            changed = replace_rows(base, axes, replaced, kind)
            if changed is None:
                continue
            try:
                made = run(changed)
            except ModelRunError as error:
                if isinstance(error, RunTimeoutError):
                    late.add(kind)
                continue  # the model refuses such a row, alone too
            done += 1
            kept = np.delete(np.arange(rows), replaced)
            for (name, axis), before, after in zip(outputs, whole, made, strict=True):
                if axis is not None and not same_bits(_taken(before, kept, axis), _taken(after, kept, axis)):
                    return f"output {name} of a row changes when a row beside it is {KINDS[kind]}", done
    return None, done


def _replacements(rows: int) -> Iterator[tuple[str, Array]]:
    """(kind, rows that are replaced): every second one, then each by itself."""
    halves = [np.arange(first, rows, 2) for first in (0, 1)]
    yield from ((kind, half) for kind in KINDS for half in halves)
    yield from ((kind, np.array([row])) for row in range(rows) for kind in KINDS)


def _taken(values: Array, rows: Array, axis: int) -> Array:
    return np.take(values, rows, axis=axis) if axis < values.ndim and values.shape[axis] > rows.max() else values


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
