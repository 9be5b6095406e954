"""Whether a model's rows are independent, proven from its graph."""

from __future__ import annotations

import functools
import mmap
import os
from collections.abc import Mapping
from dataclasses import dataclass

from beamsplit.models.errors import UsageError
from beamsplit.models.graph.model_file import ModelFile, load_source
from beamsplit.models.graph.signature import Signature
from beamsplit.models.independence.dims import Dim, size, unknown
from beamsplit.models.independence.lies import Lie, Met, Numbered, Rows, Same, missing, rows_on
from beamsplit.models.independence.reading import Model, read_model
from beamsplit.models.independence.walk import Walk

LARGEST = 20_000
"""Nodes of a graph that is followed: it takes about 20 microseconds each."""


@dataclass(frozen=True)
class Proof:
    """What a graph says of its rows."""

    outputs: Mapping[str, int]
    """The axis of the rows in each output for which it is known."""

    ends: str | None
    """Why the proof ends, with the node, in words; None where no two rows meet (but for `scales`)."""

    scales: tuple[str, ...] = ()
    """Nodes that quantise with a scale set from all rows of a run."""

    random: tuple[str, ...] = ()
    """Nodes that draw random numbers."""

    counts: frozenset[str] = frozenset()
    """Outputs whose size depends on the values of the rows: no axis of theirs is the rows'."""

    @property
    def holds(self) -> bool:
        """Whether each row comes out as it would alone."""
        return self.ends is None and not self.scales

    @property
    def line(self) -> str:
        """In words, for the plan."""
        if self.ends is not None:
            return f"not proven to be independent ({self.ends})"
        if self.scales:
            more = f" and {len(self.scales) - 1:,} more" if len(self.scales) > 1 else ""
            return f"independent but for scales that {self.scales[0]}{more} sets from all rows of a run"
        return "independent: proven"


def prove(
    model: ModelFile,
    signature: Signature,
    axes: Mapping[str, int | None],
    row_shapes: Mapping[str, tuple[int | None, ...]] | None = None,
) -> Proof:
    """Follow the rows through a model.

    Args:
        model: the file, with its rewrites.
        signature: of its session.
        axes: the axis of the rows of each input; None where it is the same for all rows.
        row_shapes: of inputs: shape of a row as it is fed, where the model declares none.
    """
    try:
        graph = _read(model)
    except (ValueError, OSError, UsageError) as error:
        return Proof({}, f"the graph cannot be followed: {error}")
    if len(graph.graph.nodes) > LARGEST:
        return Proof({}, f"the graph has more than {LARGEST:,} nodes")
    known: dict[str, Lie] = {}
    for spec in signature.inputs:
        axis = axes.get(spec.name)
        dims: list[Dim] | None = None
        if spec.shape is not None:
            dims = [size(dim) if isinstance(dim, int) else unknown() for dim in spec.shape]
        elif row_shapes and spec.name in row_shapes:
            dims = [unknown() for _ in row_shapes[spec.name]]
            dims.insert(axis or 0, unknown())
        if axis is None:
            known[spec.name] = Same(None if dims is None else tuple(dims))
        elif dims is None or axis >= len(dims):
            known[spec.name] = Met(f"input {spec.name!r}", "its number of axes is not known")
        else:
            known[spec.name] = rows_on(axis, tuple(dims))
    walk = Walk(graph)
    lies = walk.graph(graph.graph, known, graph.opsets)
    return _told(walk, {spec.name: lies.get(spec.name, missing(spec.name)) for spec in signature.outputs})


def _told(walk: Walk, outputs: Mapping[str, Lie]) -> Proof:
    axes, ends, counts = {}, None, set()
    for name, each in outputs.items():
        lie = each.met() if isinstance(each, Numbered) else each
        if isinstance(lie, Met):
            ends = ends or f"at {lie.node}: {lie.reason}"
            if lie.counts:
                counts.add(name)
        elif isinstance(lie, Rows):
            if lie.plain:
                axes[name] = lie.axis
            else:
                ends = ends or f"output {name} has other things beside the rows on their axis"
        elif lie.counts_rows:
            ends = ends or f"output {name} tells the number of rows"
    return Proof(axes, ends, tuple(walk.scales), tuple(walk.random), frozenset(counts))


def _read(model: ModelFile) -> Model:
    stat = os.stat(model.path)
    return _read_once(model, stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=4)
def _read_once(model: ModelFile, mtime: int, size: int) -> Model:
    source = load_source(model)
    if isinstance(source, bytes):
        return read_model(source)
    with open(source, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return read_model(data)
