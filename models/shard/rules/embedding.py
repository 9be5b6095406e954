"""Gather from a table: by rows of the table, so that each shard holds some entries; by columns where that is asked.

shard k, rows [start, stop)    id - start -> inside? -> Clip -> Gather -> Where(inside, found, 0)   -> partial
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from beamsplit.models.shard.decision import Decision, Maker, RuleContext, Slice
from beamsplit.models.shard.placement import PARTIAL, Replicated, Sharded, Sizes, bounds, cut_evenly
from beamsplit.models.shard.rule import Rule
from beamsplit.models.shard.rules.sizes import gather_sizes
from beamsplit.models.shard.weights import weight_bytes

_LEAST_OPSET = 9
"""Before, there is no Where, and Less takes no integers."""

_FLOATS = (ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16, ir.DataType.BFLOAT16)


def gather(node: ir.Node, context: RuleContext) -> Decision | None:
    """A constant table by its rows; data that is split on another axis goes through."""
    data, indices = node.inputs
    shape = context.shape(data)
    axis = node.attributes.get_int("axis", 0) or 0
    if shape is None or data is None:
        return None
    axis %= len(shape)
    if context.is_constant(data) and context.asked_axis(node, 0) == 1 != axis:
        return _by_columns(node, context, shape)
    if context.is_constant(data):
        table = axis == 0 and len(shape) == 2 and data.dtype in _FLOATS
        if (
            not table
            or data.dtype is None
            or not isinstance(context.placement(indices), Replicated)
            or context.is_constant(indices)
        ):
            return None
        pieces = cut_evenly(shape[0], context.shards)
        if pieces is None:
            return None

        if context.graph.opsets.get("", 1) < _LEAST_OPSET:
            return context.refuse(node, f"its rows are looked up by operators of opset {_LEAST_OPSET}")
        kind = data.dtype.numpy()

        def lookup(make: Maker, shard: int, given: list[ir.Value | None]) -> list[ir.Value]:
            table, ids = given

            def look(at: ir.Value) -> ir.Value:
                return make.node("Gather", [table, at], axis=0)

            return [_lookup(make, bounds(pieces)[shard], shape[0], ids, look, kind)]

        name = str(node.outputs[0].name)
        return Decision({name: PARTIAL}, {0: Slice(0, pieces)}, replace=lookup, sharded_bytes=weight_bytes(data))
    placement, chosen = context.placement(data), context.shape(indices)
    if isinstance(placement, Sizes):
        return gather_sizes(node, context)
    if not isinstance(placement, Sharded) or placement.axis == axis or chosen is None:
        return None
    if not isinstance(context.placement(indices), Replicated):
        return None
    at = placement.axis if placement.axis < axis else placement.axis + len(chosen) - 1
    return Decision({str(node.outputs[0].name): Sharded(at, placement.pieces, placement.origins)})


def _by_columns(node: ir.Node, context: RuleContext, shape: tuple[int, ...]) -> Decision | None:
    """Each shard looks up its columns of every entry."""
    data, indices = node.inputs
    chosen = context.shape(indices)
    if len(shape) != 2 or chosen is None or not isinstance(context.placement(indices), Replicated):
        return None
    split = context.begin(node, len(chosen), shape[1])
    if split is None:
        return None
    return Decision({str(node.outputs[0].name): split}, {0: Slice(1, split.pieces)}, sharded_bytes=weight_bytes(data))


def gather_quantised(node: ir.Node, context: RuleContext) -> Decision | None:
    """GatherBlockQuantized(table, ids, scales, zero_points), a table whose rows are quantised in blocks: by rows."""
    table, indices = node.inputs[:2]
    held = [at for at in (0, 2, 3) if at < len(node.inputs) and node.inputs[at] is not None]
    shape = context.shape(table)
    given = {name: one.as_int() for name, one in node.attributes.items()}
    if shape is None or not all(context.is_constant(node.inputs[at]) for at in held):
        return None
    if given.get("gather_axis", 0) % len(shape) or given.get("quantize_axis", 1) % len(shape) == 0:
        return context.refuse(node, "it does not look up whole rows")
    if not isinstance(context.placement(indices), Replicated) or context.is_constant(indices):
        return None
    pieces = cut_evenly(shape[0], context.shards)
    scales = node.inputs[2]
    if pieces is None or scales is None or scales.dtype is None:
        return None
    kind = scales.dtype.numpy()

    def lookup(make: Maker, shard: int, inputs: list[ir.Value | None]) -> list[ir.Value]:
        first, ids, *rest = inputs

        def look(at: ir.Value) -> ir.Value:
            return make.node("GatherBlockQuantized", [first, at, *rest], domain="com.microsoft", **given)

        return [_lookup(make, bounds(pieces)[shard], shape[0], ids, look, kind)]

    slices = {at: Slice(0, pieces) for at in held}
    size = sum(weight_bytes(node.inputs[at]) for at in held)
    return Decision({str(node.outputs[0].name): PARTIAL}, slices, replace=lookup, sharded_bytes=size)


def _lookup(
    make: Maker,
    rows: tuple[int, int],
    size: int,
    indices: ir.Value | None,
    look: Callable[[ir.Value], ir.Value],
    dtype: np.dtype[Any],
) -> ir.Value:
    """What a shard with some rows of a table of `size` finds; `look` finds rows of its own by their numbers.

    Of operators that opset 9 has: GreaterOrEqual, Clip of integers and CastLike came later.
    """
    start, stop = rows

    def number(value: int) -> ir.Value:
        return make.constant(np.array(value))

    def below(one: ir.Value, limit: int) -> ir.Value:
        return make.node("Less", [one, number(limit)])

    ids = make.node("Cast", [indices], to=int(ir.DataType.INT64))
    # Negative ids count from the end of the whole table.
    ids = make.node("Where", [below(ids, 0), make.node("Add", [ids, number(size)]), ids])
    here = make.node("Sub", [ids, number(start)])
    before, within = below(here, 0), below(here, stop - start)
    inside = make.node("And", [make.node("Not", [before]), within])
    last = make.node("Where", [within, here, number(stop - start - 1)])
    nearest = make.node("Where", [before, number(0), last])
    # An id outside the whole table fails on every shard, as it does in the whole model.
    wrong = make.node("Or", [below(ids, 0), make.node("Not", [below(ids, size)])])
    checked = make.node("Where", [wrong, here, nearest])
    found = look(checked)
    wider = make.node("Concat", [make.node("Shape", [inside]), make.constant(np.array([1]))], axis=0)
    return make.node("Where", [make.node("Reshape", [inside, wider]), found, make.constant(np.zeros((), dtype))])


def embed_and_normalise(node: ir.Node, context: RuleContext) -> Decision | None:
    """EmbedLayerNormalization: terms of the sum cannot be normalised before they are joined."""
    return context.refuse(node, "it looks up and normalises at once; a plain Gather is divided by the table's rows")


def _ids(node: ir.Node, axes: Mapping[int, int], shapes: Mapping[int, Sequence[int]]) -> Mapping[int, int | None]:
    """Every shard looks up all ids."""
    return {1: None}


RULES = {
    ("", "Gather"): Rule(gather, weight=0, beside=_ids, axes=("table columns", "table rows")),
    ("com.microsoft", "EmbedLayerNormalization"): Rule(embed_and_normalise),
    ("com.microsoft", "GatherBlockQuantized"): Rule(gather_quantised, weight=0, beside=_ids),
}
