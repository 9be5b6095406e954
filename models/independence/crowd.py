"""Many rows in one run, where the graph does not prove that their number and their places make no difference.

run       a b c d e f
again     a b c d e f a b c d e f a ...      each copy as in the first run
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from beamsplit.models.independence.replaced import bases
from beamsplit.models.independence.rows_axis import Array, Run
from beamsplit.models.running.session import ModelRunError
from beamsplit.models.values.difference import difference_of

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
    most: int | None = None
    for base in bases(feeds, axes):
        # What is made up need not be right for the model: where it fails, that says nothing.
        try:
            reason, tried = _crowd(run, base, axes, outputs, rows, clock)
        except ModelRunError:
            continue
        if reason is not None:
            return reason, tried
        most = tried if most is None else most
    return None, rows if most is None else most


def _crowd(
    run: Run,
    feeds: Mapping[str, Array],
    axes: Mapping[str, int | None],
    outputs: Sequence[tuple[str, int | None]],
    rows: int,
    clock: Callable[[], float],
) -> tuple[str | None, int]:
    began = clock()
    few = run(dict(feeds))
    seconds = clock() - began
    held = sum(one.nbytes for one in [*feeds.values(), *map(np.asarray, few)])
    count, most = 1, rows
    while True:
        order = np.arange(count) % rows
        many = {
            name: np.take(values, order, axis) if (axis := axes.get(name)) is not None else values
            for name, values in feeds.items()
        }
        began = clock()
        try:
            made = run(many)
        except ModelRunError:
            return None, most
        if count > 1:
            seconds = clock() - began
        for (name, axis), before, after in zip(outputs, few, made, strict=True):
            if axis is None:
                continue
            alike = after.ndim > axis and after.shape[axis] == count and before.shape[axis] == rows
            if not alike or not difference_of(after, np.take(before, order, axis))[1]:
                many_rows = f"{count} row{'s' * (count != 1)}"
                return f"output {name} of a row is another in a run of {many_rows} than in one of {rows}", most
        most = max(most, count)
        if most * TIMES > MOST or seconds * TIMES > SECONDS or held * TIMES > MOST_BYTES:
            return None, most
        count, held = most * TIMES, held * TIMES
