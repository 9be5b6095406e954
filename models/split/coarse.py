"""A split graph made small enough to look at: a few boxes a stage, and the tensors between them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from beamsplit.models.split.plan import Plan

INPUTS, OUTPUTS = -1, -2
"""Stand for the model's inputs and outputs where an edge begins or ends."""


class Operator(Protocol):
    """The part of a node that tells what it is."""

    @property
    def op_type(self) -> str:
        """E.g. `"Conv"`."""


class Node(Protocol):
    """What is asked of a node of the graph; `parts.Part` has it."""

    @property
    def node(self) -> Operator:
        """Its operator."""

    @property
    def reads(self) -> tuple[str, ...]:
        """Tensors that are no weights."""

    @property
    def weights(self) -> tuple[str, ...]:
        """Weights that it reads."""

    @property
    def makes(self) -> tuple[str, ...]:
        """Tensors that it makes."""


@dataclass(frozen=True)
class Box:
    """Some nodes of one stage that follow one another."""

    stage: int
    nodes: tuple[str, ...]
    operators: tuple[tuple[str, int], ...]
    """(operator, how many), the most frequent first."""

    weight_bytes: int
    """Of the distinct weights that its nodes read."""


@dataclass(frozen=True)
class Edge:
    """Tensors that go from one box to another."""

    source: int
    """Index of the box, or `INPUTS`."""

    target: int
    """Index of the box, or `OUTPUTS`."""

    tensors: tuple[str, ...]


@dataclass(frozen=True)
class CoarseGraph:
    """The boxes of all stages, in their order, and what goes between them."""

    boxes: tuple[Box, ...]
    edges: tuple[Edge, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def coarsen(
    plan: Plan,
    nodes: Mapping[str, Node],
    weight_bytes: Mapping[str, int],
    inputs: Sequence[str],
    outputs: Sequence[str],
    most_boxes: int = 36,
) -> CoarseGraph:
    """Group each stage's nodes into boxes, parted where few tensors cross.

    Args:
        plan: how the graph is split; its node names are keys of `nodes`.
        nodes: by name.
        weight_bytes: of each weight.
        inputs: names of the model's inputs.
        outputs: names of the model's outputs.
        most_boxes: in all; each stage gets at least one, and at most five.
    """
    a_stage = max(1, min(5, most_boxes // max(1, len(plan.stages))))
    boxes: list[Box] = []
    made: dict[str, int] = dict.fromkeys(inputs, INPUTS)
    edges: dict[tuple[int, int], dict[str, None]] = {}
    for stage in plan.stages:
        here = dict(made)
        for group in _groups(stage.nodes, nodes, a_stage):
            at = len(boxes)
            operators = Counter(nodes[name].node.op_type for name in group).most_common()
            weights = {weight for name in group for weight in nodes[name].weights}
            total = sum(weight_bytes.get(weight, 0) for weight in weights)
            boxes.append(Box(stage.index, tuple(group), tuple(operators), total))
            for name in group:
                for tensor in nodes[name].reads:
                    source = here.get(tensor)
                    if source is not None and source != at:
                        edges.setdefault((source, at), {})[tensor] = None
                here.update(dict.fromkeys(nodes[name].makes, at))
        # What a stage makes anew stays its own: later stages read what crosses.
        made.update({tensor: here[tensor] for tensor in stage.outputs if tensor in here})
    for tensor in outputs:
        if tensor in made:
            edges.setdefault((made[tensor], OUTPUTS), {})[tensor] = None
    found = tuple(Edge(source, target, tuple(tensors)) for (source, target), tensors in edges.items())
    return CoarseGraph(tuple(boxes), found, tuple(inputs), tuple(outputs))


def _groups(names: Sequence[str], nodes: Mapping[str, Node], most: int) -> list[Sequence[str]]:
    """Runs of about equal length, each parted at the place near by that the fewest tensors cross."""
    count = min(most, len(names))
    live = _live(names, nodes)
    cuts = [0]
    for number in range(1, count):
        ideal = number * len(names) / count
        slack = len(names) / count / 3
        low, high = max(cuts[-1] + 1, round(ideal - slack)), min(len(names) - (count - number), round(ideal + slack))
        near = range(low, max(low, high) + 1)
        cuts.append(min(near, key=lambda at: (live[at], abs(at - ideal))))
    return [names[start:end] for start, end in zip(cuts, [*cuts[1:], len(names)], strict=True) if start < end]


def _live(names: Sequence[str], nodes: Mapping[str, Node]) -> list[int]:
    """How many tensors made by an earlier node are read by a later one, at each place between two nodes."""
    maker = {tensor: at for at, name in enumerate(names) for tensor in nodes[name].makes}
    last = {tensor: at for at, name in enumerate(names) for tensor in nodes[name].reads}
    change = [0] * (len(names) + 2)
    for tensor, end in last.items():
        start = maker.get(tensor)
        if start is not None:
            change[start + 1] += 1
            change[end + 1] -= 1
    live, total = [], 0
    for step in change:
        total += step
        live.append(total)
    return live
