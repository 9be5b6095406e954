"""What one node becomes on each shard, and what a rule may ask for while it decides."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import onnx_ir as ir

from beamsplit.models.shard.cutting import Cutting
from beamsplit.models.shard.placement import (
    REPLICATED,
    NeedsGranule,
    NeedsParts,
    Placement,
    Sharded,
    ShardingOrigin,
    cut_evenly,
)


class Maker(Protocol):
    """Adds to the graph of one shard."""

    def node(self, op_type: str, inputs: Sequence[ir.Value | None], *, domain: str = "", **attributes: Any) -> ir.Value:
        """A node with one output; gives that."""

    def constant(self, array: np.ndarray[Any, Any]) -> ir.Value:
        """An initializer."""


@dataclass(frozen=True)
class Slice:
    """A constant input of which each shard gets a slice."""

    axis: int
    pieces: tuple[int, ...]

    sections: tuple[tuple[int, ...], ...] = ()
    """Where several tensors lie behind one another along the axis (q, k, v) and each is cut: the lengths in each."""


def input_at(node: ir.Node, position: int) -> ir.Value | None:
    """An input; None where it is left out, at the end of the list too."""
    return node.inputs[position] if position < len(node.inputs) else None


def along(split: Sharded, axis: int, each: int = 1) -> Slice:
    """The slices of a constant's axis that go with a split; where it is `each` times as long, that many for one."""
    sections = tuple(tuple(each * piece for piece in section) for section in split.sections)
    return Slice(axis, tuple(each * piece for piece in split.pieces), sections)


@dataclass
class Decision:
    """One node over the shards. What is not named stays as it is in the whole model."""

    outputs: dict[str, Placement]
    """Placement of each output, by name."""

    slices: dict[int, Slice] = field(default_factory=dict)
    """Constant inputs, by position, that are sliced."""

    first_only: frozenset[int] = frozenset()
    """Inputs, by position, that only shard 0 has: a bias is added once."""

    zero_elsewhere: bool = False
    """Whether the other shards have a zero there, since the operator does not leave such an input out."""

    constants: dict[int, Sequence[np.ndarray[Any, Any]]] = field(default_factory=dict)
    """Constant inputs, by position, that get another value on each shard (the target of a Reshape)."""

    attributes: dict[str, Sequence[Any]] = field(default_factory=dict)
    """Attributes with another value on each shard."""

    replace: Callable[[Maker, int, list[ir.Value | None]], list[ir.Value]] | None = None
    """Makes what stands for this node on a shard, where more changes than the above.

    Gets the shard's number and the node's inputs there (`slices` done), and gives the outputs.
    """

    sharded_bytes: int = 0
    """Bytes of weights that are divided over the shards."""

    trees: tuple[int, ...] = ()
    """How many trees of an ensemble each shard has; of what is divided otherwise empty."""

    taken: dict[int, Slice] = field(default_factory=dict)
    """Data inputs, by position, that come whole and of which each shard uses a slice."""


@dataclass(frozen=True)
class GraphFacts:
    """What is known of a graph before anything is divided."""

    shapes: Mapping[str, Sequence[int]]
    """Of tensors on the sample."""

    constants: frozenset[str]
    """Weights and what is computed from weights alone."""

    opsets: Mapping[str, int]
    """Versions by domain."""


class RuleContext:
    """What a rule sees: placements and shapes of tensors, and which inputs are constants."""

    def __init__(
        self,
        shards: int,
        placements: Mapping[str, Placement],
        graph: GraphFacts,
        cutting: Cutting,
        asked: Mapping[str, Mapping[int, int]] | None = None,
    ):
        self.shards = shards
        self._asked = asked or {}
        self.graph = graph
        self._placements = placements
        self.cutting = cutting
        self.not_in_parts: set[str] = set()
        """Nodes whose constants cannot be cut in several parts."""
        self.reasons: dict[str, str] = {}
        """Why nodes are not divided, by name, where a rule tells it."""

    def refuse(self, node: ir.Node, why: str) -> Decision | None:
        """Keep why a node is not divided; gives None, as the rule then does."""
        self.reasons[str(node.name)] = f"{node.op_type}: {why}"
        return None

    def placement(self, value: ir.Value | None) -> Placement:
        """Placement of an input; constants and absent inputs are whole."""
        if value is None or value.name is None:
            return REPLICATED
        return self._placements.get(value.name, REPLICATED)

    def is_constant(self, value: ir.Value | None) -> bool:
        """Whether the input is a weight or computed from weights alone."""
        return value is not None and value.name in self.graph.constants

    def shape(self, value: ir.Value | None) -> tuple[int, ...] | None:
        """Shape of the tensor on the sample; None where it is not known."""
        if value is None or value.name is None:
            return None
        found = self.graph.shapes.get(value.name)
        return None if found is None else tuple(found)

    def asked_axis(self, node: ir.Node, position: int) -> int | None:
        """The axis along which the model's annotations divide a constant input; None where they say nothing."""
        return self._asked.get(str(node.name), {}).get(position)

    def begin(self, node: ir.Node, axis: int, size: int, granule: int = 1, in_parts: bool = False) -> Sharded | None:
        """A split of a result that begins at this node; None where there are too few places to cut.

        Args:
            node: where it begins.
            axis: of the result.
            size: of the axis.
            granule: pieces are multiples of it.
            in_parts: whether the node can cut several parts of its result each, if that is wanted (`along`).
        """
        name = str(node.name)
        origins = frozenset([ShardingOrigin(name)])
        if in_parts and name not in self.not_in_parts:
            sections = self.cutting.in_parts(name, self.shards)
            pieces = tuple(map(sum, zip(*sections, strict=True)))
            if sections and sum(pieces) == size:
                return Sharded(axis, pieces, origins, sections=sections)
        cut = cut_evenly(size, self.shards, int(np.lcm(granule, self.cutting.granules.get(name, 1))))
        return None if cut is None else Sharded(axis, cut, origins)

    def ask_for_parts(self, placement: Sharded, sizes: tuple[int, ...], places: int) -> None:
        """Have the origins of a split cut several parts each, if they were not asked before and there is room.

        Raises:
            NeedsParts: they are to be cut so.
        """
        new = all(one.each == 1 and one.node not in self.cutting.parts for one in placement.origins)
        if not new or placement.outer != 1 or sum(sizes) != sum(placement.pieces):
            return
        granule = int(np.lcm.reduce([self.cutting.granules.get(one.node, 1) for one in placement.origins]))
        if placement.origins and cut_evenly(places, self.shards, granule) is not None:
            raise NeedsParts(placement.origins, sizes, places)

    def cut_at(self, placement: Sharded, granule: int) -> bool:
        """Whether the slices of a split are multiples of a granule; False where they cannot be.

        Raises:
            NeedsGranule: they can be, if the origins of the split are cut so.
        """
        if not any(piece % granule for piece in placement.pieces):
            return True
        wanted = int(np.lcm(granule, self.cutting.granule(placement)))
        if cut_evenly(sum(placement.pieces), self.shards, wanted) is None:
            return False
        raise NeedsGranule(placement.origins, granule)

    def agree(self, one: Sharded, other: Sharded) -> frozenset[ShardingOrigin]:
        """The origins of two splits that a node uses side by side.

        Raises:
            NeedsGranule: they are cut at unlike places; with one granule for both they are not.
        """
        origins = one.origins | other.origins
        if one.pieces != other.pieces:
            raise NeedsGranule(origins, int(np.lcm(self.cutting.granule(one), self.cutting.granule(other))))
        return origins
