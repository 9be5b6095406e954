"""Many rows in one run, where the graph does not prove that their number and their places make no difference.

run       a b c d e f
again     a b c d e f a b c d e f a ...      each copy as in the first run
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from models.rows_axis import difference_of
from models.session import ModelRunError

Array: TypeAlias = "np.ndarray[Any, Any]"
Run: TypeAlias = Callable[[dict[str, Array]], list[Array]]

TIMES = 4
"""How many times as many rows each run has as the one before."""

SECONDS = 0.05
"""A run that would take longer is not made."""

MOST = 1 << 16
"""Rows of a run; no job runs more together unless it is told to."""

MOST_BYTES = 32 << 20
"""Of inputs and outputs of a run."""


def crowd(
    run: Run,
    feeds: Mapping[str, Array],
    axes: Mapping[str, int | None],
    outputs: Sequence[tuple[str, int | None]],
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[str | None, int]:
    """(why rows change with their number or places, None where nothing shows it; most rows that were run together).

    Args:
        run: runs the model on arrays by input name.
        feeds: of a few rows, on the axis in `axes`.
        axes: of the inputs; an input with None is given as it is.
        outputs: name and axis of the rows of each output, in the order of what `run` gives; None is not compared.
        clock: seconds.
    """
    rows = next(feeds[name].shape[axis] for name, axis in axes.items() if axis is not None)
    most = rows
    began = clock()
    try:
        few = run(dict(feeds))
    except ModelRunError:
        return None, most
    seconds = clock() - began
    held = sum(one.nbytes for one in [*feeds.values(), *map(np.asarray, few)])
    while most * TIMES <= MOST and seconds * TIMES <= SECONDS and held * TIMES <= MOST_BYTES:
        count, held = most * TIMES, held * TIMES
        order = np.arange(count) % rows
        many = {
            name: np.take(values, order, axis) if (axis := axes.get(name)) is not None else values
            for name, values in feeds.items()
        }
        began = clock()
        try:
            made = run(many)
        except ModelRunError:
            break
        seconds = clock() - began
        for (name, axis), before, after in zip(outputs, few, made, strict=True):
            if axis is None:
                continue
            alike = after.ndim > axis and after.shape[axis] == count and before.shape[axis] == rows
            if not alike or not difference_of(after, np.take(before, order, axis))[1]:
                return f"output {name} of a row is another in a run of {count} rows than in one of {rows}", most
        most = count
    return None, most
