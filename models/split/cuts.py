"""Where a graph may be cut: the units of nodes that stay together, and what crosses between them.

[unit 0] -> [unit 1] -> [unit 2] -> ...      any boundary between units is a cut, with any number of tensors
    ^           ^           ^
    +-----------+-----------+--- recomputed: cheap nodes put into each stage that needs them
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from beamsplit.models.errors import UsageError
from beamsplit.models.graph.order import components, improve_order
from beamsplit.models.graph.parts import NodeView, parts_of, value_bytes, weight_bytes
from beamsplit.models.running.ort_values import ODD_TYPES
from beamsplit.models.split.recompute import is_op, recomputed_nodes


@dataclass(frozen=True)
class Unit:
    """Nodes that stay together."""

    nodes: tuple[str, ...]
    """Names, in the order they run."""

    weights: tuple[str, ...]
    """Weights that they hold, those of the recomputed nodes that they need included.

    A node with large attributes (a tree ensemble) stands for these under its own name.
    """

    reads: tuple[str, ...]
    """Tensors of other units or of the model's inputs that they need; for what is recomputed, its sources."""

    makes: tuple[str, ...]
    """Tensors that other units need or that are outputs of the model."""


@dataclass(frozen=True)
class SplitGraph:
    """A model as the units that it may be cut between."""

    model: ir.Model

    units: tuple[Unit, ...]
    """In an order that respects what they read, chosen to make boundaries small."""

    recomputed: tuple[Unit, ...]
    """Cheap nodes, one a unit, put into each stage that needs them; in topological order."""

    weight_bytes: Mapping[str, int]
    """Of each weight, by name."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    notes: tuple[str, ...]
    """Lines for the user: what stays together, and why."""

    parts: Mapping[str, NodeView] = field(repr=False, compare=False)
    """What each node reads and makes, by name."""

    repeated: frozenset[str] = frozenset()
    """Those of the recomputed nodes that are chosen for what travels; their time counts wherever they run."""

    @property
    def most_stages(self) -> int:
        """How many stages it can be cut into at most."""
        return len(self.units)

    def check_stages(self, stages: int, option: str = "--stages") -> None:
        """Raise unless it can be cut into so many.

        Raises:
            UsageError: it has fewer units; the line says how many, and why.
        """
        if not 1 <= stages <= self.most_stages:
            most = self.most_stages
            if not most:
                raise UsageError(f"{option} {stages}: the model has no nodes to cut between: score it whole")
            why = "".join(f"; {note}" for note in self.notes)
            raise UsageError(
                f"{option} {stages}: the model can be cut into at most {most} {'stage' if most == 1 else 'stages'} "
                f"(it has {_nodes(len(self.parts))}{why}): use {option} {most}"
            )


_CROSSING = frozenset(
    ir.DataType[name]
    for name in [
        *("FLOAT", "DOUBLE", "FLOAT16", "BFLOAT16", "BOOL", "STRING"),
        *("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64"),
        *(dtype.upper() for dtype in ODD_TYPES),
    ]
)
"""Element types that sessions take and give."""


def can_cross(value: ir.Value) -> bool:
    """Whether the value may go from one stage to another."""
    return isinstance(value.type, ir.TensorType) and value.dtype in _CROSSING


def split_graph(model: ir.Model, repeated: Collection[str] = ()) -> SplitGraph:
    """The units of a graph of `load_graph`, and what may cross between them.

    Args:
        model: the graph.
        repeated: names of nodes to be computed in each stage that needs them, beside those that always are.

    Raises:
        UsageError: an input or output of the model is no tensor.
    """
    for role, ends in (("input", model.graph.inputs), ("output", model.graph.outputs)):
        for value in ends:
            if not isinstance(value.type, ir.TensorType):
                raise UsageError(
                    f"{role} {value.name} is {value.type}, but only tensors can flow between stages: "
                    f"export the model without that {role}, or with a tensor in its place"
                )
    parts = parts_of(model)
    sizes = weight_bytes(model, parts)
    cheap = recomputed_nodes(model, parts, sizes)
    costly = frozenset(repeated) - cheap
    again = cheap | costly
    notes: list[str] = []
    groups = _join(model, parts, again, notes)
    units = _units(model, parts, groups, again)
    values = ir.convenience.create_value_mapping(model.graph, include_subgraphs=False)
    inputs = tuple(str(value.name) for value in model.graph.inputs)
    outputs = tuple(str(value.name) for value in model.graph.outputs)
    crossing = {name for unit in units for name in (*unit.reads, *unit.makes)}
    order = improve_order(
        [unit.reads for unit in units],
        [unit.makes for unit in units],
        {name: value_bytes(values[name]) for name in crossing},
        inputs,
    )
    recomputed = tuple(Unit((n,), parts[n].weights, parts[n].reads, parts[n].makes) for n in parts if n in again)
    if cheap:
        notes.append(f"{_nodes(len(cheap), 'cheap ')} computed in each stage that needs them")
    if costly:
        notes.append(f"{_nodes(len(costly))} computed again in later stages: quicker than to send their results")
    ordered = tuple(units[i] for i in order)
    return SplitGraph(model, ordered, recomputed, sizes, inputs, outputs, tuple(notes), parts, costly)


def _nodes(count: int, kind: str = "") -> str:
    return f"{count} {kind}node" + ("s" if count != 1 else "")


def _join(model: ir.Model, parts: dict[str, NodeView], again: set[str], notes: list[str]) -> list[list[str]]:
    """Groups of nodes that stay together, so that no two groups wait for one another."""
    maker = {made: name for name, part in parts.items() for made in part.makes}
    readers: dict[str, list[str]] = {}
    for name, part in parts.items():
        for read in part.reads:
            readers.setdefault(read, []).append(name)
    links: dict[str, list[str]] = {name: [] for name in parts if name not in again}

    def join(names: Iterable[str]) -> None:
        kept = [name for name in names if name in links]
        for first, second in itertools.pairwise(kept):
            links[first].append(second)
            links[second].append(first)

    for name, part in parts.items():
        if any(attribute.type == ir.AttributeType.GRAPH for attribute in part.node.attributes.values()):
            notes.append(f"{name} ({part.node.op_type}) is never cut inside")
        for value in part.node.outputs:
            if value.name and not can_cross(value):
                held = [name, *readers.get(value.name, [])]
                join(held)
                kind = "of unknown type" if value.type is None else str(value.type)
                notes.append(f"{len(held)} nodes stay together by {value.name}, which is {kind} and cannot cross")
        if part.node.op_type == "DynamicQuantizeLinear":
            join([name, *(reader for made in part.makes for reader in readers.get(made, []))])
        # What was quantised after it was computed crosses as it is stored; a size is taken where the tensor is.
        if part.node.op_type == "QuantizeLinear" or is_op(part.node, "Shape", "Size"):
            join([name, *(maker[read] for read in part.reads[:1] if read in maker)])
    sources = _sources(parts, again)
    for name in links:
        links[name] += [maker[read] for read in _resolved(parts[name].reads, sources) if read in maker]
    # Edges to what is read, and both ways between those joined: a cycle is a group.
    groups = [sorted(group, key=lambda name: parts[name].index) for group in components(links)]
    return sorted(groups, key=lambda group: parts[group[0]].index)


def _sources(parts: Mapping[str, NodeView], again: set[str]) -> dict[str, tuple[str, ...]]:
    """For each tensor that is recomputed, the tensors it is made of that are not."""
    found: dict[str, tuple[str, ...]] = {}
    for name, part in parts.items():
        if name in again:
            resolved = _resolved(part.reads, found)
            found |= dict.fromkeys(part.makes, resolved)
    return found


def _resolved(names: Iterable[str], sources: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one for name in names for one in sources.get(name, (name,))))


def _units(model: ir.Model, parts: dict[str, NodeView], groups: Sequence[Sequence[str]], again: set[str]) -> list[Unit]:
    sources = _sources(parts, again)
    held: dict[str, tuple[str, ...]] = {}
    """For each tensor that is recomputed, the weights that takes."""
    for name, part in parts.items():
        if name in again:
            taken = (*part.weights, *(w for read in part.reads for w in held.get(read, ())))
            held |= dict.fromkeys(part.makes, tuple(dict.fromkeys(taken)))
    needed = {str(value.name) for value in model.graph.outputs}
    units = []
    for group in groups:
        made = [one for name in group for one in parts[name].makes]
        inside = set(made)
        direct = [one for name in group for one in parts[name].reads]
        reads = tuple(name for name in _resolved(direct, sources) if name not in inside)
        weights = [w for name in group for w in parts[name].weights] + [w for one in direct for w in held.get(one, ())]
        units.append(Unit(tuple(group), tuple(dict.fromkeys(weights)), reads, tuple(made)))
        needed.update(reads)
    return [Unit(u.nodes, u.weights, u.reads, tuple(name for name in u.makes if name in needed)) for u in units]
