"""Attention and recurrence as one operator: rows on a known axis of each input."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from beamsplit.models.independence.dims import ONE, ROWS, size, unknown
from beamsplit.models.independence.lies import Ends, Given, Rows, Same, Shape, rows_on, shape_of, the_same
from beamsplit.models.independence.reading import Node


def _at(given: Sequence[Given | None], position: int) -> Given | None:
    return given[position] if position < len(given) else None


def _on(given: Given | None, axis: int, what: str) -> None:
    """Raise unless each row has its own part, on that axis alone; absent is fine."""
    if given is not None and not (isinstance(given, Rows) and given.axis == axis and given.plain):
        raise Ends(f"its {what} has no rows on axis {axis}")


def _mask(given: Given | None, axes: int) -> None:
    """Raise unless a mask is each row's own on the first of that many axes, or the same for all."""
    if isinstance(given, Rows):
        if given.axis or not given.plain or len(given.shape) != axes:
            raise Ends("its mask has rows on another axis")
        return
    the_same(given, "mask")
    if given is not None:
        shape = shape_of(given)
        if len(shape) >= axes and shape[0] != ONE:
            raise Ends("its mask has more than one place along the rows")


def _shared(given: Sequence[Given | None], positions: Sequence[int]) -> None:
    for position in positions:
        the_same(_at(given, position), "weight")


def _first(made: Shape) -> Given:
    return rows_on(0, made)


def _any_rows(given: Sequence[Given | None]) -> bool:
    return any(isinstance(one, Rows) for one in given)


def _anything(axes: int, axis: int = 0) -> Given:
    return rows_on(axis, tuple(unknown() for _ in range(axes)))


def packed(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """Attention of com.microsoft: (x, weights, bias, mask, past, attention bias, past length)."""
    data = given[0]
    _on(data, 0, "input")
    _shared(given, (1, 2, 6))
    mask = _at(given, 3)
    if isinstance(mask, Rows):
        _on(mask, 0, "mask")
    elif mask is not None:
        raise Ends("its mask has more than one place along the rows, or may")
    _on(_at(given, 4), 1, "past")
    _mask(_at(given, 5), 4)
    shape, weight = shape_of(data), shape_of(_at(given, 1))
    sizes = node.ints("qkv_hidden_sizes")
    columns = weight[-1].known
    width = size(sizes[2]) if sizes else size(columns // 3) if columns else unknown()
    return [_first((*shape[:-1], width)), _anything(5, 1)]


def quantised(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """QAttention: (x, weights, bias, x scale, weight scale, mask, x zero, weight zero, past)."""
    _on(given[0], 0, "input")
    _shared(given, (1, 2, 3, 4, 6, 7))
    mask = _at(given, 5)
    if mask is not None:
        _on(mask, 0, "mask")
    _on(_at(given, 8), 1, "past")
    columns = shape_of(_at(given, 1))[-1].known
    return [_first((*shape_of(given[0])[:-1], size(columns // 3) if columns else unknown())), _anything(5, 1)]


def multi_head(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """MultiHeadAttention: (q, k, v, bias, key padding mask, attention bias, past key, past value)."""
    for position in (0, 1, 2, 6, 7):
        _on(_at(given, position), 0, "query, key or value")
    _shared(given, (3,))
    padding = _at(given, 4)
    if padding is not None:
        _on(padding, 0, "mask")
    _mask(_at(given, 5), 4)
    if any(_at(given, position) is not None for position in (8, 9)):
        raise Ends("its cache is written in place")
    shape = shape_of(given[0])
    values = _at(given, 2)
    made = (*shape[:2], unknown())
    if values is not None and len(shape_of(values)) == 3:
        made = (*shape[:2], shape_of(values)[2])
    return [_first(made), _anything(4), _anything(4), _anything(4)]


def group_query(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """GroupQueryAttention: (q, k, v, past key, past value, lengths, total length, cos, sin, positions, bias, sink)."""
    for position in (0, 1, 2, 3, 4, 5, 9):
        _on(_at(given, position), 0, "query, key, value or length")
    _shared(given, (6, 7, 8, 11, 12, 13))
    _mask(_at(given, 10), 4)
    shape = shape_of(given[0])
    width = shape[2] if _at(given, 1) is not None else unknown()
    return [_first((*shape[:2], width)), _anything(4), _anything(4), _anything(4)]


def standard(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """Attention of opset 23 and 24: (q, k, v, mask, past key, past value, lengths)."""
    for position in (0, 1, 2, 4, 5, 6):
        _on(_at(given, position), 0, "query, key or value")
    _mask(_at(given, 3), 4)
    shape, values = shape_of(given[0]), shape_of(given[2])
    if len(shape) == 4:
        made: Shape = (*shape[:3], values[3])
    else:
        heads, kv_heads = node.whole("q_num_heads"), node.whole("kv_num_heads")
        width = values[2].known
        known = width * heads // kv_heads if width and heads and kv_heads else None
        made = (*shape[:2], size(known) if known else unknown())
    return [_first(made), _anything(4), _anything(4), _anything(4)]


def rotary(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """RotaryEmbedding: (x, positions, cos, sin) of com.microsoft, (x, cos, sin, positions) of ONNX."""
    data = given[0]
    _on(data, 0, "input")
    assert isinstance(data, Rows)
    if node.domain:
        positions, tables = _at(given, 1), (_at(given, 2), _at(given, 3))
    else:
        positions, tables = _at(given, 3), (_at(given, 1), _at(given, 2))
    for table in tables:
        if isinstance(table, Rows) and not node.domain and positions is None:
            _on(table, 0, "angles")
            continue
        the_same(table, "angles")
        if not node.domain and positions is None and len(shape_of(table)) > 2 and shape_of(table)[0] != ONE:
            raise Ends("its angles have more than one place along the rows")
    if isinstance(positions, Rows):
        _on(positions, 0, "positions")
    else:
        the_same(positions, "positions")
        if positions is not None and shape_of(positions) not in ((ONE,), ()):
            raise Ends("its positions have more than one place along the rows, or may")
    return [data]


def embedded(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """EmbedLayerNormalization: (ids, segments, three tables, gamma, beta, mask, positions)."""
    for position in (0, 1, 7):
        _on(_at(given, position), 0, "ids")
    _shared(given, (2, 3, 4, 5, 6))
    positions = _at(given, 8)
    if isinstance(positions, Rows):
        _on(positions, 0, "positions")
    elif positions is not None and shape_of(positions)[0] != ONE:
        raise Ends("its positions have more than one place along the rows, or may")
    made = (*shape_of(given[0]), shape_of(_at(given, 2))[-1])
    return [_first(made), rows_on(0, (ROWS,)), _first(made)]


def recurrent(node: Node, given: Sequence[Given | None]) -> list[Given]:
    """RNN, GRU and LSTM: (x, w, r, bias, lengths, first h, first c, peepholes)."""
    batch_first = bool(node.whole("layout"))
    data = given[0]
    axis = 0 if batch_first else 1
    _shared(given, (1, 2, 3, 7))
    if isinstance(data, Same):
        raise Ends("its input is no row's")
    _on(data, axis, "input")
    _on(_at(given, 4), 0, "length")
    for position in (5, 6):
        _on(_at(given, position), axis, "first state")
    shape = shape_of(data)
    ways = size(2 if node.text("direction", "forward").lower() == "bidirectional" else 1)
    hidden = size(node.whole("hidden_size")) if node.whole("hidden_size") else unknown()
    if batch_first:
        last = rows_on(0, (ROWS, ways, hidden))
        return [rows_on(0, (ROWS, shape[1], ways, hidden)), last, last]
    last = rows_on(1, (ways, ROWS, hidden))
    return [rows_on(2, (shape[0], ways, ROWS, hidden)), last, last]


def _rule(act: Callable[[Node, Sequence[Given | None]], list[Given]]) -> Callable[..., list[Given]]:
    """Where no input has rows nothing is to be proven, and nothing is said of shapes."""

    def rule(node: Node, given: Sequence[Given | None]) -> list[Given]:
        if not _any_rows(given):
            raise Ends("none of its inputs has rows")
        return act(node, given)

    return rule


RULES = {
    ("", "Attention"): _rule(standard),
    ("", "RotaryEmbedding"): _rule(rotary),
    ("", "RNN"): _rule(recurrent),
    ("", "GRU"): _rule(recurrent),
    ("", "LSTM"): _rule(recurrent),
    ("com.microsoft", "Attention"): _rule(packed),
    ("com.microsoft", "EmbedLayerNormalization"): _rule(embedded),
    ("com.microsoft", "GroupQueryAttention"): _rule(group_query),
    ("com.microsoft", "MultiHeadAttention"): _rule(multi_head),
    ("com.microsoft", "QAttention"): _rule(quantised),
    ("com.microsoft", "DynamicQuantizeLSTM"): _rule(recurrent),
    ("com.microsoft", "RotaryEmbedding"): _rule(rotary),
}
