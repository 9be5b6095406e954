"""Runs of any number of rows on a model that takes exactly N: blocks of N, the last filled up with copies.

5 rows, N = 4      [0 1 2 3] [4 4 4 4]    what the copies give is dropped
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from beamsplit.models.graph.model_file import BLOCKS, rewrite
from beamsplit.models.graph.signature import Signature, TensorSpec

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Blocks:
    """Where the rows lie in a run, and how many it must have."""

    inputs: tuple[tuple[str, int, int], ...]
    """(input, axis of the rows, size there); inputs that are given whole are not among them."""

    outputs: tuple[int | None, ...]
    """For each output of the model the axis of the rows; None where it is the same whatever the rows."""

    @property
    def rows(self) -> int:
        """Rows in a block: one where an input has room for one only."""
        return min(size for _, _, size in self.inputs)

    @property
    def batch(self) -> int:
        """The size that the model asks for."""
        return max(size for _, _, size in self.inputs)

    def signature(self, signature: Signature) -> Signature:
        """The same with any number of rows."""
        axes = {name: axis for name, axis, _ in self.inputs}
        inputs = tuple(_open(spec, axes.get(spec.name)) for spec in signature.inputs)
        pairs = zip(signature.outputs, self.outputs, strict=True)
        return Signature(inputs, tuple(_open(spec, axis) for spec, axis in pairs))

    def to_text(self) -> str:
        """As `graph.ModelFile.rewrites` has it."""
        return rewrite(BLOCKS, [self.inputs, self.outputs])

    @staticmethod
    def from_text(text: str) -> Blocks:
        """What `to_text` wrote."""
        inputs, outputs = json.loads(text.partition(":")[2])
        return Blocks(tuple((str(name), int(axis), int(size)) for name, axis, size in inputs), tuple(outputs))

    def run(self, run: Callable[[dict[str, Array]], list[Array]], feeds: Mapping[str, Array]) -> list[Array]:
        """All outputs for as many rows as are fed; `run` takes exactly a block."""
        name, axis, _ = self.inputs[0]
        total = feeds[name].shape[axis]
        parts = [self.trimmed(run(block), count) for block, count in self._blocks(feeds, total)]
        if len(parts) == 1:
            return parts[0]
        return [
            one[0] if rows is None else np.concatenate(one, axis=rows)
            for rows, one in zip(self.outputs, zip(*parts, strict=True), strict=True)
        ]

    def fill(self, many: Iterable[Mapping[str, Array]], counts: deque[int]) -> Iterator[dict[str, Array]]:
        """Each of the feeds, at most a block of rows, filled up; its rows are put into `counts` first."""
        name, axis, _ = self.inputs[0]
        for feeds in many:
            counts.append(feeds[name].shape[axis])
            yield self.padded(feeds)

    def padded(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """The first block of what is fed, filled up: what the graph itself takes."""
        return next(self._blocks(feeds, self.rows))[0]

    def _blocks(self, feeds: Mapping[str, Array], total: int) -> Iterator[tuple[dict[str, Array], int]]:
        for start in range(0, max(total, 1), self.rows):
            stop = min(start + self.rows, total)
            block = dict(feeds)
            for name, axis, size in self.inputs:
                block[name] = filled(feeds[name], axis, start, stop, size)
            yield block, stop - start

    def trimmed(self, outputs: Sequence[Array], count: int) -> list[Array]:
        """What a block gave, for its first rows."""
        return [
            one if axis is None or one.ndim <= axis else one[(slice(None),) * axis + (slice(0, count),)]
            for axis, one in zip(self.outputs, outputs, strict=True)
        ]


def _open(spec: TensorSpec, axis: int | None) -> TensorSpec:
    if axis is None or spec.shape is None or axis >= len(spec.shape):
        return spec
    return replace(spec, shape=(*spec.shape[:axis], "rows", *spec.shape[axis + 1 :]))


def filled(values: Array, axis: int, start: int, stop: int, size: int) -> Array:
    """Rows start..stop of an array, and copies of the last of them up to `size` rows."""
    part = values[(slice(None),) * axis + (slice(start, stop),)]
    lacking = size - part.shape[axis]
    if lacking > 0:
        last = part[(slice(None),) * axis + (slice(-1, None),)]
        part = np.concatenate([part, np.repeat(last, lacking, axis)], axis)
    return np.ascontiguousarray(part)


def blocks_of(rewrites: Sequence[str]) -> Blocks | None:
    """The blocks that a model file is run in; None where it takes any number of rows."""
    text = next((one for one in rewrites if one.startswith(f"{BLOCKS}:")), None)
    return None if text is None else Blocks.from_text(text)
