"""Tree ensembles made plain: an ensemble that only sums, and standard operators for what comes behind the sum.

    TreeEnsembleClassifier -> labels, scores    becomes    TreeEnsembleRegressor (SUM, NONE) -> post transform -> labels

ONNX defines the operators (ai.onnx.ml); where its text leaves a case open, ONNX Runtime's behaviour is what is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

ML = "ai.onnx.ml"
_POST = ("NONE", "SOFTMAX", "LOGISTIC")
_TYPES = {
    "ArgMax": ir.DataType.INT64,
    "Cast": ir.DataType.INT64,
    "Greater": ir.DataType.BOOL,
    "Squeeze": ir.DataType.INT64,
}
"""What the operators added here give, where that is not float."""


PLAIN = "/plain"
"""Between an ensemble's name and the numbers of the nodes that stand for it."""


def plain_ensembles(graph: ir.Graph) -> dict[str, str]:
    """Change the graph in place; gives the ensembles that stay as they are, by node name, and why."""
    left: dict[str, str] = {}
    for node in list(graph):
        if node.domain != ML or node.op_type not in ("TreeEnsembleClassifier", "TreeEnsembleRegressor"):
            continue
        attributes = {name: attribute.value for name, attribute in node.attributes.items()}
        change = _classifier if node.op_type == "TreeEnsembleClassifier" else _regressor
        reason = change(graph, node, attributes)
        if reason is not None:
            left[str(node.name)] = reason
    return left


def _regressor(graph: ir.Graph, node: ir.Node, attributes: dict[str, Any]) -> str | None:
    aggregate, post = attributes.get("aggregate_function", "SUM"), attributes.get("post_transform", "NONE")
    targets = attributes.get("n_targets", 1)
    based = any(name.startswith("base_values") for name in attributes)
    if aggregate == "SUM" and post == "NONE" and (targets == 1 or not based):
        return None
    if aggregate not in ("SUM", "AVERAGE"):
        return f"its trees are joined by {aggregate}, not by a sum"
    if post not in _POST:
        return f"its post transform {post} is not one of {', '.join(_POST)}"
    if post != "NONE" and targets == 1:
        return f"what its post transform {post} does to a single number is left open by ONNX"
    if "base_values_as_tensor" in attributes:
        return "its weights are double precision"
    if (based or post != "NONE") and not _always_scored(attributes, targets, "target"):
        return _UNSCORED
    add = _Adder(graph, node)
    base = _numbers(attributes, "base_values")
    plain = {k: v for k, v in attributes.items() if not k.startswith("base_values")}
    plain |= {"aggregate_function": "SUM", "post_transform": "NONE"}
    scores = add("TreeEnsembleRegressor", [node.inputs[0]], domain=ML, **plain)
    if aggregate == "AVERAGE":
        count = len(np.unique(np.asarray(attributes["nodes_treeids"])))
        scores = add("Div", [scores, add.constant(np.array(count, np.float32))])
    if base is not None:
        scores = add("Add", [scores, add.constant(base)])
    add.replace([_post(add, scores, post)])
    return None


def _post(add: _Adder, scores: ir.Value, post: str) -> ir.Value:
    if post == "SOFTMAX":
        return add("Softmax", [scores], axis=-1)
    return add("Sigmoid", [scores]) if post == "LOGISTIC" else scores


def _classifier(graph: ir.Graph, node: ir.Node, attributes: dict[str, Any]) -> str | None:
    """labels, scores of ONNX Runtime: the class of the highest score, or two classes from one score."""
    post = attributes.get("post_transform", "NONE")
    if post not in _POST:
        return f"its post transform {post} is not one of {', '.join(_POST)}"
    doubles = any(isinstance(value, ir.TensorProtocol) for value in attributes.values())
    if doubles:
        return "its weights are double precision"
    strings = attributes.get("classlabels_strings")
    labels = list(strings or attributes.get("classlabels_int64s") or [])
    weights = np.asarray(attributes["class_weights"], np.float32)
    ids = np.asarray(attributes["class_ids"])
    one_score = len(labels) == 2
    base = _numbers(attributes, "base_values")
    if base is not None and len(base) != (1 if one_score else len(labels)):
        return f"it has {len(base)} base values for {len(labels)} classes"
    if one_score and (np.any(ids != 0) or post == "SOFTMAX"):
        return "its two classes are not made of one score"
    if not one_score and base is None and not _always_scored(attributes, len(labels), "class"):
        return _UNSCORED
    add = _Adder(graph, node)
    plain = {k: v for k, v in attributes.items() if k.startswith("nodes_")}
    plain |= {f"target_{part}": attributes[f"class_{part}"] for part in ("treeids", "nodeids", "weights")}
    plain["target_ids"] = attributes["class_ids"]
    plain |= {"n_targets": 1 if one_score else len(labels), "aggregate_function": "SUM", "post_transform": "NONE"}
    scores = add("TreeEnsembleRegressor", [node.inputs[0]], domain=ML, **plain)
    if base is not None:
        scores = add("Add", [scores, add.constant(base)])
    if one_score:
        both, chosen = _two_classes(add, scores, post, bool((weights >= 0).all()))
    else:
        both = _post(add, scores, post)
        chosen = add("ArgMax", [scores], axis=1, keepdims=0)
    names = add.constant(np.asarray(labels, object if strings else np.int64))
    add.replace([add("Gather", [names, chosen], axis=0), both])
    return None


_UNSCORED = "a row may come to leaves that all say nothing of one of its outputs"


def _always_scored(attributes: dict[str, Any], classes: int, role: str) -> bool:
    """Whether for each class there is a tree of which every leaf has a weight for it: no row is without a score of it.

    ONNX Runtime leaves what has no score out when it looks for the highest, adds base values and transforms.
    """
    modes = attributes["nodes_modes"]
    trees = np.asarray(attributes["nodes_treeids"])[[mode in ("LEAF", b"LEAF") for mode in modes]]
    leaves = dict(zip(*np.unique(trees, return_counts=True), strict=True))
    given = {*zip(*(attributes[f"{role}_{part}"] for part in ("treeids", "nodeids", "ids")), strict=True)}
    said: dict[tuple[int, int], int] = {}
    for tree, _, one in given:
        said[tree, one] = said.get((tree, one), 0) + 1
    scored = {one for (tree, one), count in said.items() if count == leaves.get(tree)}
    return scored >= set(range(classes))


def _two_classes(add: _Adder, score: ir.Value, post: str, positive: bool) -> tuple[ir.Value, ir.Value]:
    """(scores [rows, 2], number of the class [rows]) from one score [rows, 1]."""
    threshold = 0.5 if positive else 0.0
    above = add("Greater", [score, add.constant(np.array(threshold, np.float32))])
    chosen = add("Squeeze", [add("Cast", [above], to=int(ir.DataType.INT64)), add.constant(np.array([1]))])
    if post == "LOGISTIC":
        other, own = add("Sigmoid", [add("Neg", [score])]), add("Sigmoid", [score])
    elif positive:
        other, own = add("Sub", [add.constant(np.array(1.0, np.float32)), score]), score
    else:
        other, own = add("Neg", [score]), score
    return add("Concat", [other, own], axis=1), chosen


def _numbers(attributes: dict[str, Any], name: str) -> np.ndarray[Any, Any] | None:
    value = attributes.get(name)
    return None if value is None or not len(value) else np.asarray(value, np.float32)


class _Adder:
    """Puts nodes before one that they will replace."""

    def __init__(self, graph: ir.Graph, node: ir.Node):
        self._graph, self._node = graph, node
        self._count = 0

    def __call__(
        self, op_type: str, inputs: Sequence[ir.Value | None], domain: str = "", **attributes: Any
    ) -> ir.Value:
        made = [ir.convenience.convert_attribute(key, value) for key, value in attributes.items()]
        name = self._name()
        kind = _TYPES.get(op_type, ir.DataType.FLOAT)
        output = ir.Value(name=name, type=ir.TensorType(kind))
        new = ir.Node(domain, op_type, inputs, made, outputs=[output], name=name)
        self._graph.insert_before(self._node, new)
        return new.outputs[0]

    def constant(self, array: np.ndarray[Any, Any]) -> ir.Value:
        name = self._name()
        tensor = (
            ir.StringTensor(array.astype(bytes).tolist(), shape=ir.Shape(array.shape), name=name)
            if array.dtype == object
            else ir.Tensor(array, name=name)
        )
        value = ir.Value(name=name, type=ir.TensorType(tensor.dtype), shape=tensor.shape, const_value=tensor)
        self._graph.register_initializer(value)
        return value

    def _name(self) -> str:
        self._count += 1
        return f"{self._node.name or self._node.op_type}{PLAIN}{self._count}"

    def replace(self, results: Sequence[ir.Value]) -> None:
        """The results take the names and the readers of the node's outputs; the node goes."""
        for old, new in zip(self._node.outputs, results, strict=True):
            name, outputs = old.name, [i for i, value in enumerate(self._graph.outputs) if value is old]
            kind, shape = old.type, old.shape
            old.replace_all_uses_with(new, replace_graph_outputs=True)
            old.name = f"{name}/replaced"
            new.name, new.type = name, kind
            new.shape = shape
            assert all(self._graph.outputs[i] is new for i in outputs)
        self._graph.remove(self._node, safe=True)
