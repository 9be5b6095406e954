"""Nodes that later stages compute again, because what they make takes longer to travel than to make.

        +-> r0 (stage 0)                           +-> r0 (stage 0)
x -> n -+                      becomes      x -> n +
        +====== t ======> r1 (stage 1)      +----- x ------> n -> r1 (stage 1)

Shapes and masks are computed again always (`recompute`); this is for what is known once the nodes have been timed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from beamsplit.models.cost.cluster import ClusterWorker
from beamsplit.models.cost.profile import Profile
from beamsplit.models.errors import UsageError
from beamsplit.models.graph.parts import bodies
from beamsplit.models.split.cuts import SplitGraph, split_graph
from beamsplit.models.split.recompute import RANDOM

GAIN = 0.01
"""Share of the period that must be saved for nodes to be computed twice."""


@dataclass(frozen=True)
class _Source:
    """The cheapest way to have a tensor in a later stage."""

    price: float
    """Bytes to send, with seconds of compute counted as the bytes that could be sent meanwhile."""

    nodes: frozenset[str] = frozenset()
    """Computed again; none: the tensor itself is sent."""


def cheap_to_repeat(graph: SplitGraph, profile: Profile, bandwidth: float) -> frozenset[str]:
    """Names of nodes that are cheaper to compute again than to ship their results.

    In topological order, the price of a tensor is the least of its bytes and of computing it again: its node's seconds
    times the bandwidth, plus the prices of what that reads; what is shipped as far anyway costs nothing more.

    Args:
        graph: units made without any such nodes.
        profile: seconds of nodes, bytes of tensors.
        bandwidth: bytes a second.
    """
    last: dict[str, int] = {}
    readers: dict[str, int] = {}
    for at, unit in enumerate(graph.units):
        for name in unit.reads:
            last[name] = at
            readers[name] = readers.get(name, 0) + 1
    last |= dict.fromkeys(graph.outputs, len(graph.units))
    alone = {unit.nodes[0] for unit in graph.units if len(unit.nodes) == 1}
    shipped = {name for unit in graph.units for name in (*unit.reads, *unit.makes)}
    found: dict[str, _Source] = {}

    def bytes_of(name: str) -> _Source:
        return _Source(profile.value_bytes.get(name, 0.0) if name in shipped else 0.0)

    for name, part in graph.parts.items():
        if name not in alone or part.node.op_type in RANDOM or any(True for _ in bodies(part.node)):
            continue
        if not set(graph.outputs).isdisjoint(part.makes) or len(part.makes) != 1:
            continue
        made = part.makes[0]
        until = last.get(made, -1)
        needed = [r for r in part.reads if last.get(r, -1) < until or r in found]
        sources = [found.get(r) or bytes_of(r) for r in needed]
        price = profile.node_seconds.get(name, 0.0) * bandwidth + sum(one.price for one in sources)
        if price < bytes_of(made).price:
            found[made] = _Source(price, frozenset({name}).union(*(one.nodes for one in sources)))
    # A tensor with one reader is not made twice: the cut just goes to the other side of its node.
    return frozenset().union(*(source.nodes for made, source in found.items() if readers.get(made, 0) > 1))


def repeat_where_cheaper(
    graph: SplitGraph, profile: Profile, workers: Sequence[ClusterWorker], period: Callable[[SplitGraph], float]
) -> SplitGraph:
    """The graph with nodes that are computed again in later stages, if that shortens the period; else as it is.

    Args:
        graph: the units.
        profile: what they cost.
        workers: for the slowest link; where all share memory, nothing is computed twice.
        period: seconds of the best split of a graph; raises UsageError if there is none.
    """
    bandwidth = min(worker.bandwidth for worker in workers)
    if math.isinf(bandwidth) or len(workers) < 2:
        return graph
    names = cheap_to_repeat(graph, profile, bandwidth)
    if not names:
        return graph
    other = split_graph(graph.model, names)
    try:
        shorter = period(other)
    except UsageError:
        # What is computed twice is no unit of its own: there may be too few left.
        return graph
    return other if shorter < period(graph) * (1 - GAIN) else graph
