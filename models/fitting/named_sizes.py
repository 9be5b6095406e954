"""Names of dimensions that say too much: exporters call unlike sizes alike, and ONNX Runtime takes them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

import numpy as np
import pyarrow as pa

from beamsplit.models.binding.binding import Binding, SizesDiffer
from beamsplit.models.errors import UsageError
from beamsplit.models.graph.signature import Signature
from beamsplit.models.scoring.scorer import Array

_TRIES = 8
"""Sample rows that are tried with sizes that a name forbids."""


def without_names(signature: Signature, names: Collection[str]) -> Signature:
    """The same with dimensions of those names open, each for itself."""
    if not names:
        return signature
    inputs = tuple(
        spec if spec.shape is None else replace(spec, shape=tuple(None if dim in names else dim for dim in spec.shape))
        for spec in signature.inputs
    )
    return Signature(inputs, signature.outputs)


def bind_by_sizes(
    bind: Callable[[Collection[str]], Binding],
    runs: Callable[[Binding, pa.RecordBatch, int], object | None],
    sample: pa.RecordBatch | None,
) -> Binding:
    """Bind, leaving out names that the data contradicts while the model takes it.

    A name that one input has twice for unlike sizes names nothing. One that two inputs give unlike sizes counts until a
    sample row runs with them: where columns have fixed sizes, or where most sample rows differ.

    Args:
        bind: binds without some names.
        runs: what a row of the sample gives; None if the model fails.
        sample: rows of the data.

    Raises:
        UsageError: inputs cannot be bound; of sizes that differ, if no sample row runs with them.
    """
    unnamed: set[str] = set()
    refused: UsageError | None = None
    while True:
        try:
            binding = bind(unnamed)
            break
        except SizesDiffer as error:
            if error.symbol in unnamed:
                raise
            unnamed.add(error.symbol)
            refused = refused or (None if error.itself else error)
    rows = 0 if sample is None else sample.num_rows
    if refused is not None and not any(sample is not None and _ran(runs, binding, sample, at) for at in _few(rows)):
        raise refused
    if sample is None or not rows or not any(isinstance(dim, str) for one in binding.inputs for dim in one.dims or ()):
        return binding
    conflicts = binding.open(sample).conflicts()
    for name in {name for _, name, _ in conflicts}:
        unlike = np.unique([row for row, symbol, _ in conflicts if symbol == name])
        if 2 * len(unlike) > rows:
            bound = bind({*unnamed, name})
            if any(_ran(runs, bound, sample, row) for row in unlike[:_TRIES].tolist()):
                unnamed.add(name)
    return bind(unnamed)


def _few(rows: int) -> Array:
    return np.arange(min(rows, _TRIES))


def _ran(
    runs: Callable[[Binding, pa.RecordBatch, int], object | None], binding: Binding, sample: pa.RecordBatch, row: int
) -> bool:
    bad = {at for at, _ in binding.open(sample.slice(row, 1)).bad_rows()}
    return not bad and runs(binding, sample, row) is not None
