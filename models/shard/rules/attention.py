"""Attention as one operator, by heads: com.microsoft's four kinds and that of ai.onnx from opset 23 on.

    Attention, QAttention   weight [in, q | k | v]: each shard takes the columns of its heads from all three parts
    the others              q, k, v whose slices are whole heads: each shard attends with its own

Heads that N does not divide go to the first shards. Where several heads of q share one of k and v, they stay together.
Caches, masks and biases with a number a head are divided alike: weights are cut, data is sliced on the shard.

Source: Shoeybi et al., Megatron-LM, 2019 (arXiv 1909.08053), section 3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from beamsplit.models.shard.decision import Decision, RuleContext, Slice, input_at
from beamsplit.models.shard.placement import NeedsGranule, Placement, Replicated, Sharded, ShardingOrigin
from beamsplit.models.shard.rule import Rule
from beamsplit.models.shard.weights import weight_bytes


def attention(node: ir.Node, context: RuleContext) -> Decision | None:
    """Attention(x, weights [in, q | k | v], bias, mask_index, past [2, n, heads, t, size], attention_bias, ...)."""
    if input_at(node, 6) is not None:
        return context.refuse(node, "its cache is written in place (past_sequence_length)")
    return _with_weights(node, context, per_column=(2,), of_heads={4: 2, 5: 1})


def quantised_attention(node: ir.Node, context: RuleContext) -> Decision | None:
    """QAttention(x, weights, bias, x_scale, scale, mask_index, x_zp, zp, past): scales a column or one."""
    if node.attributes.get_int("past_present_share_buffer", 0):
        return context.refuse(node, "its cache is written in place (past_present_share_buffer)")
    return _with_weights(node, context, per_column=(2, 4, 7), of_heads={8: 2})


def _with_weights(
    node: ir.Node, context: RuleContext, per_column: Sequence[int], of_heads: Mapping[int, int]
) -> Decision | None:
    """Attention with weights [in, q | k | v] at 1.

    Args:
        node: to be divided.
        context: of the walk.
        per_column: positions of inputs with a number for each column of the weights, or one for all.
        of_heads: axis of the heads, by position, of inputs with a place for each.
    """
    weights = node.inputs[1]
    shape = context.shape(weights)
    heads = node.attributes.get_int("num_heads", 0) or 0
    if shape is None or len(shape) != 2 or not heads or not isinstance(context.placement(node.inputs[0]), Replicated):
        return None
    known = [value for value in (weights, *(input_at(node, at) for at in per_column)) if value is not None]
    if not all(map(context.is_constant, known)):
        return context.refuse(node, "its weights are computed from data")
    sizes = node.attributes.get_ints("qkv_hidden_sizes") or (shape[1] // 3,) * 3
    if any(size % heads for size in sizes) or sum(sizes) != shape[1]:
        return context.refuse(node, f"its {heads} heads do not divide {list(sizes)}")
    split = context.begin(node, 2, sizes[2], sizes[2] // heads)
    if split is None:
        return context.refuse(node, f"{heads} heads are not enough for {context.shards} shards")
    own = [piece * heads // sizes[2] for piece in split.pieces]
    sections = tuple(tuple(size // heads * count for count in own) for size in sizes)
    pieces = tuple(map(sum, zip(*sections, strict=True)))
    found = _Heads(node, context, tuple(own))
    found.slices[1] = Slice(1, pieces, sections)
    for at in per_column:
        if (context.shape(input_at(node, at)) or (1,))[-1] != 1:
            found.slices[at] = Slice(0, pieces, sections)
    if not all(found.each(at, axis) for at, axis in of_heads.items()):
        return None
    found.attributes["num_heads"] = own
    if node.attributes.get_ints("qkv_hidden_sizes"):
        found.attributes["qkv_hidden_sizes"] = [list(one) for one in zip(*sections, strict=True)]
    made = found.decision({0: split, 1: Sharded(2, tuple(own), split.origins)})
    made.sharded_bytes = weight_bytes(weights) + weight_bytes(input_at(node, 2))
    return made


def multi_head(node: ir.Node, context: RuleContext) -> Decision | None:
    """MultiHeadAttention(q, k, v, bias [q | k | v], key_padding_mask, attention_bias, past_key, past_value, ...)."""
    heads = node.attributes.get_int("num_heads", 0) or 0
    found = _from_data(node, context, heads, heads)
    if found is None:
        return None
    if any(input_at(node, at) is not None for at in (8, 9)):
        return context.refuse(node, "its cache is written in place (past_sequence_length)")
    bias = input_at(node, 3)
    if bias is not None:
        if not context.is_constant(bias):
            return context.refuse(node, "its bias is computed from data")
        sections = tuple(found.widths(at) for at in range(3))
        found.slices[3] = Slice(0, tuple(map(sum, zip(*sections, strict=True))), sections)
    if not all(found.each(at, 1) for at in (5, 6, 7)):
        return None
    found.attributes["num_heads"] = list(found.heads)
    return found.decision({0: found.output(), 1: found.of_kv(1), 2: found.of_kv(1), 3: found.of_q(1)})


def group_query(node: ir.Node, context: RuleContext) -> Decision | None:
    """GroupQueryAttention(q, k, v, past_key, past_value, seqlens_k, total_sequence_length, cos, sin, ...)."""
    heads, kv_heads = (node.attributes.get_int(name, 0) or 0 for name in ("num_heads", "kv_num_heads"))
    packed = input_at(node, 1) is None and input_at(node, 2) is None
    found = (_packed if packed else _from_data)(node, context, heads, kv_heads)
    if found is None:
        return None
    if any(input_at(node, at) is not None for at in (12, 13)):
        return context.refuse(node, "its cache is quantised")
    if not all(found.each(at, 1, kv=True) for at in (3, 4)) or not found.each(10, 1) or not found.each(11, 0):
        return None
    found.attributes |= {"num_heads": list(found.heads), "kv_num_heads": list(found.kv_heads)}
    return found.decision({0: found.output(), 1: found.of_kv(1), 2: found.of_kv(1), 3: found.of_q(1)})


def standard(node: ir.Node, context: RuleContext) -> Decision | None:
    """Attention(Q, K, V, attn_mask, past_key, past_value, nonpad_kv_seqlen) of opset 23 and 24."""
    q, k = context.shape(node.inputs[0]), context.shape(node.inputs[1])
    if q is None or k is None:
        return None
    if len(q) == 4:
        heads, kv_heads = q[1], k[1]
    else:
        heads, kv_heads = (node.attributes.get_int(name, 0) or 0 for name in ("q_num_heads", "kv_num_heads"))
    found = _from_data(node, context, heads, kv_heads)
    if found is None:
        return None
    mask = context.shape(input_at(node, 3))
    if mask is not None and len(mask) > 2 and not found.each(3, len(mask) - 3):
        return None
    if not all(found.each(at, 1, kv=True) for at in (4, 5)):
        return None
    if len(q) == 3:
        found.attributes |= {"q_num_heads": list(found.heads), "kv_num_heads": list(found.kv_heads)}
    return found.decision({0: found.output(), 1: found.of_kv(1), 2: found.of_kv(1), 3: found.of_q(1)})


def rotary(node: ir.Node, context: RuleContext) -> Decision | None:
    """RotaryEmbedding of both domains: each head is turned by itself; [n, t, heads x size] or [n, heads, t, size]."""
    placement, shape = context.placement(node.inputs[0]), context.shape(node.inputs[0])
    if not isinstance(placement, Sharded) or shape is None:
        return None
    if placement.axis == 0:
        return context.refuse(node, "its rows are divided")
    given = node.attributes.get_int("num_heads", 0) or 0
    name = str(node.outputs[0].name)
    if len(shape) == 4:
        if placement.axis != 1:
            return context.refuse(node, "its heads are not divided whole")
        counts = placement.pieces
    else:
        cache = context.shape(node.inputs[1 if node.domain in ("", "ai.onnx") else 2])
        size = shape[2] // given if given else 2 * cache[-1] if cache else 0
        if placement.axis != 2 or not size or shape[2] % size:
            return context.refuse(node, "its heads are not divided whole")
        counts = _whole_heads(placement, size)
    return Decision({name: placement}, attributes={"num_heads": list(counts)} if given else {})


def _whole_heads(placement: Sharded, size: int) -> tuple[int, ...]:
    """Heads of each shard.

    Raises:
        NeedsGranule: heads are cut in two.
    """
    if any(piece % size for piece in placement.pieces):
        raise NeedsGranule(placement.origins, size)
    return tuple(piece // size for piece in placement.pieces)


@dataclass
class _Heads:
    """How one node is divided by heads, as far as it is known."""

    node: ir.Node
    context: RuleContext
    heads: tuple[int, ...]
    """Of each shard."""

    kv_heads: tuple[int, ...] = ()
    """Of keys and values."""

    origins: frozenset[ShardingOrigin] = frozenset()
    slices: dict[int, Slice] = field(default_factory=dict)
    taken: dict[int, Slice] = field(default_factory=dict)
    attributes: dict[str, Sequence[object]] = field(default_factory=dict)

    def each(self, position: int, axis: int, kv: bool = False) -> bool:
        """Divide an input with a place for each head along an axis; False, with the reason told, where that cannot be.

        Args:
            position: of the input, which may be absent.
            axis: of the heads; where the input is 1 long there all heads share it.
            kv: whether the heads are those of keys and values.
        """
        value = input_at(self.node, position)
        counts = self.kv_heads if kv else self.heads
        shape, placement = self.context.shape(value), self.context.placement(value)
        if value is None:
            return True
        if isinstance(placement, Sharded) and placement.axis == axis and placement.pieces == counts:
            return True
        if shape is None or axis >= len(shape) or not isinstance(placement, Replicated):
            self.context.refuse(self.node, f"{value.name} is not divided by its heads")
            return False
        if shape[axis] == 1 and sum(counts) != 1:
            return True
        self._cut(value, position, Slice(axis, counts))
        return True

    def _cut(self, value: ir.Value, position: int, part: Slice) -> None:
        (self.slices if self.context.is_constant(value) else self.taken)[position] = part

    def widths(self, position: int) -> tuple[int, ...]:
        """Of q, k or v: how many of all columns are each shard's."""
        counts, shape = self.kv_heads if position else self.heads, self.context.shape(self.node.inputs[position])
        assert shape is not None
        size = shape[3] if len(shape) == 4 else shape[2] // sum(counts)
        return tuple(size * count for count in counts)

    def output(self) -> Sharded:
        """[n, t, heads x the size of values], or with an axis of heads."""
        shape = self.context.shape(self.node.outputs[0])
        if shape is not None and len(shape) == 4:
            return self.of_q(1)
        values = self.context.shape(input_at(self.node, 2))
        packed = self.context.shape(self.node.inputs[0])
        if values is None and packed is not None:
            size = packed[2] // (sum(self.heads) + 2 * sum(self.kv_heads))
            return Sharded(2, tuple(size * count for count in self.heads), self.origins)
        assert values is not None
        size = values[3] if len(values) == 4 else values[2] // sum(self.kv_heads)
        return Sharded(2, tuple(size * count for count in self.heads), self.origins)

    def of_q(self, axis: int) -> Sharded:
        """An output with an axis of the heads of q."""
        return Sharded(axis, self.heads, self.origins)

    def of_kv(self, axis: int) -> Sharded:
        """An output with an axis of the heads of keys and values."""
        return Sharded(axis, self.kv_heads, self.origins)

    def decision(self, outputs: dict[int, Sharded]) -> Decision:
        """What becomes of the node; of its outputs those that it has."""
        named = {str(value.name): outputs[at] for at, value in enumerate(self.node.outputs) if value.name}
        made: dict[str, Placement] = dict(named)
        return Decision(made, self.slices, attributes=self.attributes, taken=self.taken)


def _from_data(node: ir.Node, context: RuleContext, heads: int, kv_heads: int) -> _Heads | None:
    """Which heads each shard has, by q, k and v, of which one at least comes in slices; None where it cannot be."""
    given = [input_at(node, at) for at in range(3)]
    placements = [context.placement(value) for value in given]
    if not any(isinstance(placement, Sharded) for placement in placements):
        return None
    shapes = [shape for shape in map(context.shape, given) if shape is not None and len(shape) in (3, 4)]
    if len(shapes) != 3 or not heads or not kv_heads or heads % kv_heads:
        context.refuse(node, "its queries, keys and values are packed into one tensor")
        return None
    found: _Heads | None = None
    for at, (shape, placement) in enumerate(zip(shapes, placements, strict=True)):
        axis, all_heads = (1 if len(shape) == 4 else 2), kv_heads if at else heads
        if not isinstance(placement, Sharded):
            continue
        if placement.axis != axis or shape[axis] % all_heads:
            context.refuse(node, "its heads are not divided whole")
            return None
        size = (1 if len(shape) == 4 else shape[2] // all_heads) * (1 if at else heads // kv_heads)
        counts = _whole_heads(placement, size)
        if found is None:
            q = tuple(count * (heads // kv_heads) for count in counts)
            found = _Heads(node, context, q, counts, placement.origins)
        elif counts != found.kv_heads:
            context.refuse(node, "its queries, keys and values are divided at unlike heads")
            return None
        found.origins |= placement.origins
    assert found is not None
    for at, (value, shape, placement) in enumerate(zip(given, shapes, placements, strict=True)):
        if isinstance(placement, Sharded):
            continue
        if not isinstance(placement, Replicated) or value is None:
            context.refuse(node, "its heads come as terms of a sum")
            return None
        counts = found.kv_heads if at else found.heads
        found._cut(value, at, Slice(1, counts) if len(shape) == 4 else Slice(2, found.widths(at)))
    return found


def _packed(node: ir.Node, context: RuleContext, heads: int, kv_heads: int) -> _Heads | None:
    """Which heads each shard has where q [n, t, q | k | v] holds queries, keys and values; None where it cannot be."""
    placement, shape = context.placement(node.inputs[0]), context.shape(node.inputs[0])
    if not isinstance(placement, Sharded) or shape is None or not heads or not kv_heads or heads % kv_heads:
        return None
    size = shape[-1] // (heads + 2 * kv_heads)
    sizes = (heads * size, kv_heads * size, kv_heads * size)
    if placement.axis == 2 and not placement.sections:
        context.ask_for_parts(placement, sizes, kv_heads)
    counts = tuple(piece // size for piece in placement.sections[1]) if placement.sections else ()
    q = tuple(count * (heads // kv_heads) for count in counts)
    wanted = tuple(tuple(size * count for count in one) for one in (q, counts, counts))
    if not counts or placement.sections != wanted:
        context.refuse(node, f"its {kv_heads} heads, packed into one tensor, are not divided whole")
        return None
    origins = frozenset(ShardingOrigin(one.node, one.each * size * heads // kv_heads) for one in placement.origins)
    return _Heads(node, context, q, counts, origins)


RULES = {
    ("", "Attention"): Rule(standard),
    ("", "RotaryEmbedding"): Rule(rotary),
    ("com.microsoft", "Attention"): Rule(attention),
    ("com.microsoft", "GroupQueryAttention"): Rule(group_query, in_parts=True),
    ("com.microsoft", "MultiHeadAttention"): Rule(multi_head),
    ("com.microsoft", "QAttention"): Rule(quantised_attention),
    ("com.microsoft", "RotaryEmbedding"): Rule(rotary),
}
