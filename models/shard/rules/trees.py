"""Tree ensembles, by trees: each shard adds up its own trees, the shards' sums are added up.

`models.shard.trees.plain_ensembles` has made every ensemble one that only sums.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from beamsplit.models.shard.decision import Decision, Maker, RuleContext
from beamsplit.models.shard.placement import PARTIAL, Replicated, bounds, cut_evenly
from beamsplit.models.shard.rule import Rule
from beamsplit.models.shard.weights import tree_bytes

ML = "ai.onnx.ml"


def ensemble_regressor(node: ir.Node, context: RuleContext) -> Decision | None:
    """TreeEnsembleRegressor with the sum of its trees as result; base values are added once, by shard 0."""
    attributes = {name: attribute.value for name, attribute in node.attributes.items()}
    aggregate, post = attributes.get("aggregate_function", "SUM"), attributes.get("post_transform", "NONE")
    if aggregate != "SUM" or post != "NONE" or not isinstance(context.placement(node.inputs[0]), Replicated):
        return None
    trees = np.unique(np.asarray(attributes["nodes_treeids"]))
    pieces = cut_evenly(len(trees), context.shards)
    if pieces is None:
        return None

    def some_trees(make: Maker, shard: int, given: list[ir.Value | None]) -> list[ir.Value]:
        start, stop = bounds(pieces)[shard]
        mine = _of_trees(attributes, trees[start:stop], first=shard == 0)
        return [make.node("TreeEnsembleRegressor", given, domain=ML, **mine)]

    return Decision(
        {str(node.outputs[0].name): PARTIAL}, replace=some_trees, sharded_bytes=tree_bytes(node), trees=pieces
    )


def _of_trees(attributes: dict[str, Any], trees: np.ndarray[Any, Any], first: bool) -> dict[str, Any]:
    nodes = np.isin(np.asarray(attributes["nodes_treeids"]), trees)
    targets = np.isin(np.asarray(attributes["target_treeids"]), trees)
    mine: dict[str, Any] = {}
    for name, value in attributes.items():
        if name.startswith("base_values"):
            if first:
                mine[name] = value
        elif name.startswith(("nodes_", "target_")):
            mine[name] = _picked(value, nodes if name.startswith("nodes_") else targets)
        else:
            mine[name] = value
    return mine


def _picked(value: Any, kept: np.ndarray[Any, Any]) -> Any:
    if isinstance(value, ir.TensorProtocol):
        return ir.Tensor(value.numpy()[kept])
    return [one for one, keep in zip(value, kept.tolist(), strict=True) if keep]


def ensemble(node: ir.Node, context: RuleContext) -> Decision | None:
    """TreeEnsemble of ai.onnx.ml 5: a shard gets some of the roots and what they lead to."""
    attributes = {name: attribute.value for name, attribute in node.attributes.items()}
    sums = attributes.get("aggregate_function", 1) == 1 and attributes.get("post_transform", 0) == 0
    sets = attributes.get("membership_values") is not None
    if not sums or sets or not isinstance(context.placement(node.inputs[0]), Replicated):
        return None
    roots = list(attributes["tree_roots"])
    pieces = cut_evenly(len(roots), context.shards)
    if pieces is None:
        return None

    def some_roots(make: Maker, shard: int, given: list[ir.Value | None]) -> list[ir.Value]:
        start, stop = bounds(pieces)[shard]
        return [make.node("TreeEnsemble", given, domain=ML, **_of_roots(attributes, roots[start:stop]))]

    return Decision(
        {str(node.outputs[0].name): PARTIAL}, replace=some_roots, sharded_bytes=tree_bytes(node), trees=pieces
    )


def _of_roots(attributes: dict[str, Any], roots: list[int]) -> dict[str, Any]:
    """The nodes and leaves below some roots, numbered anew in their old order."""
    nodes: set[int] = set()
    leaves: set[int] = set()
    sides = [
        (list(attributes[f"nodes_{side}nodeids"]), list(attributes[f"nodes_{side}leafs"])) for side in ("true", "false")
    ]
    waiting = list(roots)
    while waiting:
        at = waiting.pop()
        if at in nodes:
            continue
        nodes.add(at)
        for ids, leaf in sides:
            (leaves.add if leaf[at] else waiting.append)(ids[at])
    node_number = {old: new for new, old in enumerate(sorted(nodes))}
    leaf_number = {old: new for new, old in enumerate(sorted(leaves))}
    kept = np.isin(np.arange(len(sides[0][0])), sorted(nodes))
    kept_leaves = np.isin(np.arange(len(attributes["leaf_targetids"])), sorted(leaves))
    mine: dict[str, Any] = {}
    for name, value in attributes.items():
        if name.startswith("leaf_"):
            mine[name] = _picked(value, kept_leaves)
        elif name.startswith("nodes_"):
            mine[name] = _picked(value, kept)
        else:
            mine[name] = value
    for side, (ids, leaf) in zip(("true", "false"), sides, strict=True):
        mine[f"nodes_{side}nodeids"] = [(leaf_number if leaf[old] else node_number)[ids[old]] for old in sorted(nodes)]
    mine["tree_roots"] = [node_number[root] for root in roots]
    return mine


RULES = {(ML, "TreeEnsembleRegressor"): Rule(ensemble_regressor), (ML, "TreeEnsemble"): Rule(ensemble)}
