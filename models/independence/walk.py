"""Follow the rows through a graph, node by node, into bodies and functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from beamsplit.models.independence.bodies import BODIES
from beamsplit.models.independence.dims import Dim, size, unknown
from beamsplit.models.independence.lies import Ends, Given, Lie, Met, Numbered, Rows, Same, missing
from beamsplit.models.independence.numbered import numbered
from beamsplit.models.independence.reading import Constant, Graph, Model, Node
from beamsplit.models.independence.rules import QUANTISES, RANDOM, RULES

TARGETS = {
    "AffineGrid": {1}, "ConstantOfShape": {0}, "Expand": {1}, "Reshape": {1}, "Resize": {3}, "Shape": {0}, "Size": {0},
    "Slice": {1, 2}, "Tile": {1},
}  # fmt: skip
"""Inputs by position that may name the number of rows: as the length of the rows' own axis, which the rules check."""

DEEPEST = 32
"""Bodies and functions in one another."""


@dataclass
class Walk:
    """One way through a model; what was met on it."""

    model: Model
    scales: list[str] = field(default_factory=list)
    """Nodes that set a scale from all rows of a run."""
    random: list[str] = field(default_factory=list)
    """Nodes that draw random numbers."""

    def graph(
        self, graph: Graph, known: Mapping[str, Lie], opsets: Mapping[str, int], depth: int = 0
    ) -> dict[str, Lie]:
        """How each tensor of a graph lies.

        Args:
            graph: its nodes are in order, as ONNX has them.
            known: inputs of the graph, and what bodies see of the graph around them.
            opsets: version of each domain.
            depth: how many bodies and functions lie around it.
        """
        lies: dict[str, Lie] = dict(known)
        for constant in graph.constants:
            # An input with a default is what is fed, where it is fed.
            lies.setdefault(constant.name, constant_lie(constant))
        for name in graph.sparse:
            lies.setdefault(name, Same())
        for node in graph.nodes:
            node.opset = opsets.get(node.domain, 1)
            for name, lie in zip(node.outputs, self._node(node, lies, opsets, depth), strict=False):
                if name:
                    lies[name] = lie
        return lies

    def _node(self, node: Node, lies: Mapping[str, Lie], opsets: Mapping[str, int], depth: int) -> list[Lie]:
        given = [lies.get(name, missing(name)) if name else None for name in node.inputs]
        for one in given:
            if isinstance(one, Met):
                return [one] * len(node.outputs)
        if node.op == "Range" or any(isinstance(one, Numbered) for one in given):
            found = numbered(node, given)
            if found is not None:
                return [found]
        known: list[Given | None] = [one for one in given if not isinstance(one, Met | Numbered)]
        try:
            made = self._outputs(node, known, lies, opsets, depth)
            _check(node, known, made)
        except Ends as end:
            return [self._met(node, known, end)] * len(node.outputs)
        except (IndexError, KeyError, AssertionError, ValueError, ZeroDivisionError):
            # The node is not as its operator has it: nothing is known of it.
            return [self._met(node, known, Ends("it is not as its operator is known"))] * len(node.outputs)
        return [*made, *([Same()] * (len(node.outputs) - len(made)))]

    def _met(self, node: Node, given: Sequence[Given | None], end: Ends) -> Lie:
        """What the outputs are where a rule ends."""
        if _no_rows(node, given) and not end.counts:
            return Same()
        return Met(str(node), str(end), end.counts)

    def _outputs(
        self, node: Node, given: Sequence[Given | None], lies: Mapping[str, Lie], opsets: Mapping[str, int], depth: int
    ) -> list[Lie]:
        key = node.domain, node.op
        function = self.model.functions.get(key)
        if function is not None and (node.domain or key not in RULES):
            if depth > DEEPEST:
                raise Ends("functions lie too deep in one another")
            inside = dict[str, Lie]()
            for name, one in zip(function.graph.inputs, given, strict=False):
                if one is not None:
                    inside[name] = one
            attributes = {**function.defaults, **node.attributes}
            body = replace(function.graph, nodes=[replace(one, given=attributes) for one in function.graph.nodes])
            made = self.graph(body, inside, function.opsets or opsets, depth + 1)
            return [made.get(name, missing(name)) for name in function.graph.outputs]
        if key == ("", "Constant"):
            return [_constant(node)]
        if node.op in ("If", "Loop", "Scan") and not node.domain:
            if depth > DEEPEST:
                raise Ends("bodies lie too deep in one another")
            return BODIES[node.op](self, node, given, lies, opsets, depth + 1)
        rows = any(isinstance(one, Rows) for one in given)
        if key in RANDOM:
            self.random.append(str(node))
        elif key in QUANTISES and rows:
            self.scales.append(str(node))
        if any(_graph_of(node)):
            raise Ends("its body is not followed")
        rule = RULES.get(key)
        if rule is None:
            raise Ends(f"what {node.domain + '.' if node.domain else ''}{node.op} does with rows is not known")
        return [*rule(node, given)]


def _graph_of(node: Node) -> list[Graph]:
    return [one.graph for one in node.attributes.values() if one.graph is not None] if node.op == "SequenceMap" else []


def _no_rows(node: Node, given: Sequence[Given | None]) -> bool:
    """Whether all that a node sees is the same for all rows, bodies aside."""
    plain = all(one is None or (isinstance(one, Same) and not one.counts_rows) for one in given)
    return plain and node.op not in ("If", "Loop", "Scan", "SequenceMap")


def _check(node: Node, given: Sequence[Given | None], made: Sequence[Lie]) -> None:
    """Raise where the number of rows got into values or shapes unseen."""
    allowed = TARGETS.get(node.op, set()) if not node.domain else set()
    hidden = any(isinstance(one, Same) and one.counts_rows and at not in allowed for at, one in enumerate(given))
    named = any(isinstance(one, Same) and one.counts_rows for one in given)
    for one in made:
        if isinstance(one, Same):
            if any(dim.rows for dim in one.shape or ()):
                raise Ends("it makes an axis as long as there are rows of what is no row's")
            if named and one.content is None:
                raise Ends("it works with the number of rows")
        elif isinstance(one, Rows):
            if hidden:
                raise Ends("it works with the number of rows")
            if any(dim.rows != (axis == one.axis) for axis, dim in enumerate(one.shape)):
                raise Ends("rows lie on more than one axis")


def constant_lie(constant: Constant) -> Same:
    """How a tensor of the file lies."""
    shape = tuple(map(size, constant.shape))
    if len(shape) > 1 or constant.numbers is None:
        return Same(shape)
    return Same(shape, tuple(_whole(number) for number in constant.numbers))


def _whole(number: float) -> Dim:
    return size(int(number)) if float(number).is_integer() else unknown()


def _constant(node: Node) -> Same:
    for name in ("value", "value_int", "value_ints", "value_float", "value_floats", "value_string", "value_strings"):
        one = node.attributes.get(name)
        if one is None:
            continue
        if name == "value":
            return constant_lie(one.tensor) if one.tensor is not None else Same()
        if name == "value_int":
            return Same((), (size(one.number or 0),))
        if name == "value_ints":
            return Same((size(len(one.ints)),), tuple(map(size, one.ints)))
        if name == "value_float":
            return Same((), (_whole(one.real or 0.0),))
        if name == "value_string":
            return Same(())
        return Same((unknown(),))
    return Same()
