"""From the nodes that ONNX Runtime ran back to the nodes of the graph that it was given.

ONNX Runtime fuses, renames, folds and adds nodes before it runs a graph:

    given      Conv -c-> BatchNormalization -b-> Relu -r-> MaxPool -p->
    optimised  Conv(r_nchwc) -reorder_token_0-> MaxPool(p_nchwc) -reorder_token_1-> ReorderOutput -p->

A fused node's seconds belong to the given nodes between its inputs and its outputs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Wires:
    """A node by its name and the names of its tensors."""

    name: str
    reads: tuple[str, ...]
    makes: tuple[str, ...]


@dataclass(frozen=True)
class Spread:
    """Seconds of the optimised graph's nodes, dealt to the given graph's nodes."""

    node_seconds: Mapping[str, float]
    """For each given node; 0 where it was folded away."""

    unmapped: float
    """Seconds of nodes that belong to no given node by name or tensor; dealt to all by their shares."""


def spread_seconds(
    given: Sequence[Wires], ran: Sequence[Wires], seconds: Mapping[str, float], shares: Mapping[str, float]
) -> Spread:
    """Deal the seconds of each node that ran to the given nodes that it stands for.

    A node that ran stands for the given node that makes its output, or whose name or tensor its own name begins with
    (`r2_nchwc` for the maker of `r2`); and, going backwards from there, for all given nodes that no other node that
    ran stands for, until a tensor that the optimised graph still has.

    Args:
        given: nodes of the graph as it was loaded, in topological order.
        ran: nodes of the optimised graph, in the order that they run.
        seconds: for each that ran, by name.
        shares: for each given node, a number at least 0 by which the seconds of a fused node are dealt.
    """
    by_name = {node.name: node for node in given}
    maker = {tensor: node.name for node in given for tensor in node.makes if tensor}
    live = {tensor for node in ran for tensor in (*node.makes, *node.reads)}
    stands: dict[str, list[str]] = {}
    owner: dict[str, str] = {}
    for node in ran:
        anchors = [maker[tensor] for tensor in node.makes if tensor in maker]
        anchors = anchors or _by_name(node.name, by_name, maker)
        stands[node.name] = list(dict.fromkeys(anchors))
        for anchor in stands[node.name]:
            # What converts a layout comes behind what computes, under the same tensor's name or its own.
            owner.setdefault(anchor, node.name)
    for node in ran:
        stands[node.name] += _behind(stands[node.name], by_name, maker, live, owner, node.name)
    _join_neighbours(ran, stands)
    result = dict.fromkeys(by_name, 0.0)
    unmapped = 0.0
    for node in ran:
        spent = seconds.get(node.name, 0.0)
        if stands[node.name]:
            _deal(result, stands[node.name], shares, spent)
        else:
            unmapped += spent
    if unmapped:
        # In proportion to what is known, so that what was folded away gets none.
        known = result if any(result.values()) else shares
        _deal(result, list(by_name), dict(known), unmapped)
    return Spread(result, unmapped)


def _by_name(name: str, by_name: Mapping[str, Wires], maker: Mapping[str, str]) -> list[str]:
    """The given node that a node that ran is called after: the longest name that its own begins with."""
    if name in by_name:
        return [name]
    for end in range(len(name) - 1, 0, -1):
        if name[end] not in "_/:-.":
            continue
        head = name[:end]
        if head in by_name:
            return [head]
        if head in maker:
            return [maker[head]]
    return []


def _behind(
    anchors: Iterable[str],
    by_name: Mapping[str, Wires],
    maker: Mapping[str, str],
    live: set[str],
    owner: dict[str, str],
    name: str,
) -> list[str]:
    """Given nodes that feed the anchors and that nothing else stands for."""
    found = []
    work = list(anchors)
    while work:
        for tensor in by_name[work.pop()].reads:
            node = maker.get(tensor)
            if node is not None and node not in owner and tensor not in live:
                owner[node] = name
                found.append(node)
                work.append(node)
    return found


def _join_neighbours(ran: Sequence[Wires], stands: dict[str, list[str]]) -> None:
    """Count what was added, such as a change of layout, to the node that reads it, or else to the one it reads."""
    readers: dict[str, list[str]] = {}
    makers: dict[str, list[str]] = {}
    for node in ran:
        for tensor in node.reads:
            readers.setdefault(tensor, stands[node.name])
        for tensor in node.makes:
            makers[tensor] = stands[node.name]
    # Backwards, so that a chain of added nodes ends at a reader.
    for node in reversed(ran):
        if not stands[node.name]:
            beside = [readers.get(tensor, []) for tensor in node.makes] + [makers.get(t, []) for t in node.reads]
            stands[node.name].extend(next((found for found in beside if found), []))


def _deal(result: dict[str, float], names: Sequence[str], shares: Mapping[str, float], seconds: float) -> None:
    total = sum(shares.get(name, 0.0) for name in names)
    for name in names:
        result[name] += seconds * (shares.get(name, 0.0) / total if total else 1 / len(names))
