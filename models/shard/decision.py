"""What one node becomes on each shard, and what a rule may ask for while it decides."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import onnx_ir as ir

from models.shard.layout import WHOLE, Layout, NeedsGranule, Split, cut_evenly


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


@dataclass
class Decision:
    """One node over the shards. What is not named stays as it is in the whole model."""

    outputs: dict[str, Layout]
    """Layout of each output, by name."""

    slices: dict[int, Slice] = field(default_factory=dict)
    """Constant inputs, by position, that are sliced."""

    first_only: frozenset[int] = frozenset()
    """Inputs, by position, that only shard 0 has: a bias is added once."""

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


class Context:
    """What a rule sees: layouts and shapes of tensors, and which inputs are constants."""

    def __init__(
        self,
        shards: int,
        layouts: Mapping[str, Layout],
        shapes: Mapping[str, Sequence[int]],
        constants: frozenset[str],
        granules: Mapping[str, int],
        opsets: Mapping[str, int],
        asked: Mapping[str, Mapping[int, int]] | None = None,
    ):
        self.shards = shards
        self._asked = asked or {}
        self.opsets = opsets
        self._layouts = layouts
        self._shapes = shapes
        self._constants = constants
        self._granules = granules
        self.reasons: dict[str, str] = {}
        """Why nodes are not divided, by name, where a rule tells it."""

    def refuse(self, node: ir.Node, why: str) -> Decision | None:
        """Keep why a node is not divided; gives None, as the rule then does."""
        self.reasons[str(node.name)] = f"{node.op_type}: {why}"
        return None

    def layout(self, value: ir.Value | None) -> Layout:
        """Layout of an input; constants and absent inputs are whole."""
        if value is None or value.name is None:
            return WHOLE
        return self._layouts.get(value.name, WHOLE)

    def is_constant(self, value: ir.Value | None) -> bool:
        """Whether the input is a weight or computed from weights alone."""
        return value is not None and value.name in self._constants

    def shape(self, value: ir.Value | None) -> tuple[int, ...] | None:
        """Shape of the tensor on the sample; None where it is not known."""
        if value is None or value.name is None:
            return None
        found = self._shapes.get(value.name)
        return None if found is None else tuple(found)

    def asked_axis(self, node: ir.Node, position: int) -> int | None:
        """The axis along which the model's annotations divide a constant input; None where they say nothing."""
        return self._asked.get(str(node.name), {}).get(position)

    def begin(self, node: ir.Node, axis: int, size: int, granule: int = 1) -> Split | None:
        """A split of a result that begins at this node; None where there are too few places to cut.

        Args:
            node: where it begins.
            axis: of the result.
            size: of the axis.
            granule: pieces are multiples of it.
        """
        granule = int(np.lcm(granule, self._granules.get(str(node.name), 1)))
        pieces = cut_evenly(size, self.shards, granule)
        return None if pieces is None else Split(axis, pieces, frozenset([str(node.name)]))

    def cut_at(self, layout: Split, granule: int) -> bool:
        """Whether the slices of a split are multiples of a granule; False where they cannot be.

        Raises:
            NeedsGranule: they can be, if the origins of the split are cut so.
        """
        if not any(piece % granule for piece in layout.pieces):
            return True
        wanted = int(np.lcm.reduce([granule, *(self._granules.get(name, 1) for name in layout.origins)]))
        if cut_evenly(sum(layout.pieces), self.shards, wanted) is None:
            return False
        raise NeedsGranule(layout.origins, granule)

    def agree(self, one: Split, other: Split) -> frozenset[str]:
        """The origins of two splits that a node uses side by side.

        Raises:
            NeedsGranule: they are cut at unlike places; with one granule for both they are not.
        """
        origins = one.origins | other.origins
        if one.pieces != other.pieces:
            granules = [self._granules.get(name, 1) for name in origins]
            raise NeedsGranule(origins, int(np.lcm.reduce(granules)))
        return origins
