"""Models whose batch is fixed, run beside one another: that rows keep apart in a block, and that a change is right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from beamsplit.models.independence.rows_axis import Array, Run
from beamsplit.models.running.blocks import Blocks, filled
from beamsplit.models.running.session import ModelRunError
from beamsplit.models.values.difference import difference_of

_ALONE = 8
"""Rows of a block that are compared with the row alone, that is with a block of its copies."""


def find_blocks(
    run: Run, rows: Mapping[str, Array], inputs: Sequence[tuple[str, int, int]], names: Sequence[str]
) -> Blocks | str:
    """How a model that takes exactly so many rows is run in blocks, or why it must not be.

    A block of unlike rows, in two orders, is compared with blocks of copies of one row. Each row must come out the same
    beside its copies as beside others, and wherever in the block it is.

    Args:
        run: the model as it is.
        rows: at least two rows for each input, on its axis; inputs that are given whole too.
        inputs: (input, axis of the rows, how many the model takes there).
        names: of the outputs.

    Raises:
        ModelRunError: the model does not take the rows.
    """
    batch = max(size for _, _, size in inputs)
    first = inputs[0]
    count = rows[first[0]].shape[first[1]]
    order = np.arange(batch) % count
    orders = [order, np.roll(order, 1)] if batch > 1 else [order]
    mixed = [run(_block(rows, inputs, each)) for each in orders]
    tried: list[int] = list(dict.fromkeys(order[np.linspace(0, batch - 1, min(_ALONE, batch)).astype(int)].tolist()))
    copies = {row: run(_block(rows, inputs, np.full(batch, row))) for row in tried}
    found: list[int | None] = []
    for at, name in enumerate(names):
        runs = [*[one[at] for one in mixed], *[one[at] for one in copies.values()]]
        axes = [axis for axis in range(runs[0].ndim) if all(r.ndim == runs[0].ndim for r in runs)]
        axes = [axis for axis in axes if all(one.shape[axis] == batch for one in runs)]
        alone = {row: one[at] for row, one in copies.items()}
        good = [axis for axis in axes if _apart(list(zip(orders, runs[: len(mixed)], strict=True)), alone, axis)]
        if good:
            found.append(good[0])
        elif all(difference_of(one, runs[0])[0] == 0 for one in runs):
            found.append(None)
        elif not axes:
            return f"output {name} has no axis of {batch} rows"
        else:
            return f"output {name} of a row changes with the rows beside it, or with its place among them"
    if all(axis is None for axis in found):
        return "no output depends on the rows"
    return Blocks(tuple(inputs), tuple(found))


def _block(rows: Mapping[str, Array], inputs: Sequence[tuple[str, int, int]], order: Array) -> dict[str, Array]:
    """Those rows for inputs that take a block, the first of them all for inputs that take one."""
    block = dict(rows)
    for name, axis, size in inputs:
        # Where another input takes one row only, that is the first in every block: then only the others change.
        block[name] = np.ascontiguousarray(np.take(rows[name], order if size > 1 else [0], axis))
    return block


def _apart(mixed: Sequence[tuple[Array, Array]], alone: Mapping[int, Array], axis: int) -> bool:
    """Whether each row's part is the same in every block, and among its copies everywhere."""
    for row, copies in alone.items():
        one = np.take(copies, [0], axis)
        if not difference_of(copies, np.repeat(one, copies.shape[axis], axis))[1]:
            return False
        for order, values in mixed:
            at = np.flatnonzero(order == row)[:1]
            if not difference_of(np.take(values, at, axis), one)[1]:
                return False
    (before, first), *others = mixed
    return all(difference_of(np.take(values, _places(order, before), axis), first)[1] for order, values in others)


def _places(order: Array, wanted: Array) -> Array:
    """Where in `order` the rows of `wanted` are; copies of a row are alike."""
    where = {row: at for at, row in enumerate(order.tolist())}
    return np.array([where[row] for row in wanted.tolist()])


def differs(run: Run, changed: Run, rows: Mapping[str, Array], blocks: Blocks) -> str | None:
    """Why a changed model must not stand for one that is run in blocks; None if it may.

    Args:
        run: the model in blocks, which takes any number of rows so.
        changed: the other.
        rows: as many rows as a block has, and one more, on the axis of each input.
        blocks: how the first is run.
    """
    name, axis, _ = blocks.inputs[0]
    most = rows[name].shape[axis]
    for count in (most, 1):
        feeds = dict(rows)
        for given, at, _ in blocks.inputs:
            feeds[given] = filled(rows[given], at, 0, count, count)
        try:
            expected = run(feeds)
            found = changed(feeds)
        except ModelRunError as error:
            return f"{count} row{'s' * (count != 1)} cannot be run: {error}"
        for number, (one, other) in enumerate(zip(expected, found, strict=True)):
            if one.shape != other.shape:
                return f"output {number} has the shape {other.shape} for {count} rows, and {one.shape} is right"
            difference, close = difference_of(other, one)
            if not close:
                return f"output {number} of a row differs by up to {difference:.3g}"
    return None


def unlike_rows(rows: dict[str, Array], inputs: Sequence[tuple[str, int, int]]) -> dict[str, Array]:
    """The same rows; of an input in which all are alike, every second is made another, so that mixing shows."""
    changed = dict(rows)
    for name, axis, _ in inputs:
        values = np.moveaxis(np.array(rows[name]), axis, 0)
        if len(values) < 2 or any(difference_of(values[:1], values[row : row + 1])[0] for row in range(1, len(values))):
            continue
        other = values[1::2]
        if values.dtype.kind == "f":
            other = np.where(np.isfinite(other), other / 2 + 0.25, 0).astype(values.dtype)
        elif values.dtype.kind == "b":
            other = ~other
        elif values.dtype.kind in "iu":
            other = np.where(other == 0, 1, 0).astype(values.dtype)
        else:
            other = np.array([f"{text}." for text in other.reshape(-1)], dtype=object).reshape(other.shape)
        values[1::2] = other
        changed[name] = np.ascontiguousarray(np.moveaxis(values, 0, axis))
    return changed
