"""Make a graph whose batch is fixed take any number of rows.

Shapes are inferred node by node at two sizes of the batch, so that each value tells on which axis the rows are. A
constant in which the batch is hidden (the target of a Reshape, the end of a Slice, a state or a token for each row) is
mended where it meets the rows. The result may not be right: whoever uses it runs it beside the model as it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.inliner import inline_local_functions

from beamsplit.models.batch.operators import BROADCASTING, RECURRENT
from beamsplit.models.batch.places import of_constant, open_ends, rows_from_end, where_rows
from beamsplit.models.batch.sizes import Known, Shape, infer, of_tensor

ROWS = "rows"
"""The symbol that the rows get."""

_COUNT = "beamsplit/rows"
"""The name of the number of rows, int64[1], inside the graph."""

_LARGER = 10_007
"""Rows of the larger size: a number that no other axis has."""


def rows_dynamic(model: onnx.ModelProto, axes: Mapping[str, int]) -> None:
    """Let the axis of each input in `axes` have any size, the same for all.

    Args:
        model: changed in place.
        axes: by input; all have one size there, or some have 1.
    """
    if model.functions:
        model.CopyFrom(inline_local_functions(model))
    walk = _Walk(model, axes)
    walk.mend(model.graph, walk.begin())
    for value in model.graph.input:
        if value.name in axes:
            value.type.tensor_type.shape.dim[axes[value.name]].dim_param = ROWS
    for value in model.graph.output:
        walk.declare(value)
    # Before IR 4 every initializer had to be an input too, which the new ones are not.
    model.ir_version = max(model.ir_version, 4)


class _Walk:
    """The graph's nodes in order, mended one by one."""

    def __init__(self, model: onnx.ModelProto, axes: Mapping[str, int]) -> None:
        self._graph = model.graph
        self._axes = axes
        self._opsets = list(model.opset_import)
        dims = {value.name: value.type.tensor_type.shape.dim for value in model.graph.input}
        self.batch = max(dims[name][axis].dim_value for name, axis in axes.items())
        self._large = self.batch + _LARGER
        self._source = next(iter(axes.items()))
        self._count_made = False
        self._made = 0
        self.ends: dict[str, Known] = {}

    def begin(self) -> dict[str, Known]:
        """The graph's inputs and weights."""
        known = {tensor.name: of_tensor(tensor) for tensor in self._graph.initializer}
        for value in self._graph.input:
            tensor = value.type.tensor_type
            if value.name in known or not tensor.HasField("shape"):
                continue
            shape: Shape = tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim)
            large = list(shape)
            if value.name in self._axes:
                large[self._axes[value.name]] = self._large
            known[value.name] = Known(tensor.elem_type, (shape, tuple(large)))
        return known

    def mend(self, graph: onnx.GraphProto, known: dict[str, Known]) -> None:
        """Follow the rows through a graph and mend what holds them up; `known` grows."""
        del graph.value_info[:]
        known |= {tensor.name: of_tensor(tensor) for tensor in graph.initializer}
        nodes: list[onnx.NodeProto] = []
        for node in list(graph.node):
            before: list[onnx.NodeProto] = []
            if node.op_type == "If":
                self._branches(node, known)
            elif node.op_type == "Loop":
                self._loop(node, known)
            else:
                if node.op_type == "Constant":
                    known |= of_constant(node)
                else:
                    self._mend_node(node, known, before)
                    known |= infer(node, known, self._opsets)
            nodes += [*before, node]
        if graph is self._graph and self._count_made:
            nodes = [*self._counting(), *nodes]
        copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del graph.node[:]
        graph.node.extend(copies)
        if graph is self._graph:
            self.ends = {value.name: known[value.name] for value in graph.output if value.name in known}

    def declare(self, value: onnx.ValueInfoProto) -> None:
        """Give an output the shape that it now has, as far as that is known."""
        known = self.ends.get(value.name)
        tensor = value.type.tensor_type
        small, large = known.shapes if known is not None else (None, None)
        if small is None or large is None or len(small) != len(large):
            tensor.ClearField("shape")
            return
        dims: list[int | str | None] = []
        for a, b in zip(small, large, strict=True):
            dims.append(a if a == b else ROWS if (a, b) == (self.batch, self._large) else None)
        value.type.CopyFrom(helper.make_tensor_type_proto(tensor.elem_type, dims))

    # Bodies

    def _branches(self, node: onnx.NodeProto, known: dict[str, Known]) -> None:
        ends = []
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                inside = dict(known)
                self.mend(attribute.g, inside)
                ends.append([inside.get(value.name) for value in attribute.g.output])
        for at, name in enumerate(node.output):
            each = [end[at] for end in ends]
            first = each[0] if each else None
            if first is not None and all(one is not None and one.shapes == first.shapes for one in each):
                known[name] = replace(first, values=(None, None))

    def _loop(self, node: onnx.NodeProto, known: dict[str, Known]) -> None:
        body = next(attribute.g for attribute in node.attribute if attribute.name == "body")
        inside = dict(known)
        scalar: Shape = ()
        carried = [known.get(name) for name in node.input[2:]]
        kinds = (onnx.TensorProto.INT64, onnx.TensorProto.BOOL)
        for value, kind in zip(body.input[:2], kinds, strict=False):
            inside[value.name] = Known(kind, (scalar, scalar))
        for value, one in zip(body.input[2:], carried, strict=False):
            inside.pop(value.name, None)
            # Recorded shapes may have the batch in them.
            value.type.tensor_type.ClearField("shape")
            if one is not None:
                inside[value.name] = replace(one, values=(None, None))
        self.mend(body, inside)
        for value in body.output:
            value.type.tensor_type.ClearField("shape")
        for name, value in zip(node.output, body.output[1:], strict=False):
            one = inside.get(value.name)
            if one is None:
                continue
            if list(node.output).index(name) < len(carried):
                known[name] = replace(one, values=(None, None))
            elif one.shapes[0] is not None and one.shapes[1] is not None:
                known[name] = Known(one.kind, ((None, *one.shapes[0]), (None, *one.shapes[1])))

    # Nodes

    def _mend_node(self, node: onnx.NodeProto, known: dict[str, Known], before: list[onnx.NodeProto]) -> None:
        given = [known.get(name) if name else None for name in node.input]
        data = given[0] if given else None
        if node.op_type == "Reshape" and data is not None and data.rows is not None:
            self._mend_reshape(node, data, known)
        elif node.op_type == "Expand" and data is not None and data.rows is not None:
            self._mend_expand(node, data, known)
        elif node.op_type == "Slice" and data is not None and data.rows is not None:
            self._mend_slice(node, data, known)
        elif node.op_type == "Resize" and data is not None and data.rows is not None:
            self._mend_resize(node, data, known, before)
        elif node.op_type == "Squeeze" and data is not None and data.rows is not None:
            self._mend_squeeze(node, data, known)
        elif node.op_type in BROADCASTING:
            self._mend_broadcast(node, given, known, before)
        elif node.op_type == "Concat":
            self._mend_concat(node, given, known, before)
        elif node.op_type in ("LSTM", "GRU", "RNN") and data is not None and data.rows == 1:
            for at, axis in RECURRENT.items():
                if at < len(node.input) and node.input[at]:
                    self._give_rows(node, at, axis, known, before)

    def _mend_reshape(self, node: onnx.NodeProto, data: Known, known: dict[str, Known]) -> None:
        attribute = next((a for a in node.attribute if a.name == "shape"), None)
        target = known.get(node.input[1]) if len(node.input) > 1 else None
        if attribute is None and (target is None or target.fixed is None):
            return
        after = infer(node, known, self._opsets).get(node.output[0])
        small, rows = data.shapes[0], data.rows
        assert small is not None and rows is not None
        shape = after.shapes[0] if after is not None else None
        if attribute is None and shape is None and target is not None and target.fixed is not None:
            shape = tuple(target.fixed.tolist())
        if shape is None or any(dim is None or dim <= 0 for dim in shape):
            return
        sizes = [int(dim or 0) for dim in shape]
        at = where_rows(small, rows, sizes, self.batch)
        if at is None:
            return
        wanted = [*sizes[:at], -1, *sizes[at + 1 :]]
        if attribute is not None:
            attribute.ints[:] = wanted
            return
        node.input[1] = self._constant(wanted, known)

    def _mend_expand(self, node: onnx.NodeProto, data: Known, known: dict[str, Known]) -> None:
        target = known.get(node.input[1])
        if target is None or target.fixed is None or data.rows is None or data.shapes[0] is None:
            return
        sizes = target.fixed.tolist()
        at = len(sizes) - len(data.shapes[0]) + data.rows
        if 0 <= at < len(sizes):
            # 1 leaves the axis as it comes.
            node.input[1] = self._constant([*sizes[:at], 1, *sizes[at + 1 :]], known)

    def _mend_slice(self, node: onnx.NodeProto, data: Known, known: dict[str, Known]) -> None:
        attributes = {a.name: a for a in node.attribute}
        small = data.shapes[0]
        assert small is not None and data.rows is not None
        if "ends" in attributes:
            starts, ends = list(attributes["starts"].ints), list(attributes["ends"].ints)
            axes = list(attributes["axes"].ints) if "axes" in attributes else list(range(len(ends)))
            attributes["ends"].ints[:] = open_ends(starts, ends, axes, [], small, data.rows)
            return
        values = [known.get(name) if name else None for name in node.input[1:]]
        fixed = [None if one is None or one.fixed is None else one.fixed.tolist() for one in values]
        if len(fixed) < 2 or fixed[0] is None or fixed[1] is None:
            return
        if any(name and fixed[i] is None for i, name in enumerate(node.input[1:])):
            return
        axes = fixed[2] if len(fixed) > 2 and fixed[2] is not None else list(range(len(fixed[1])))
        steps = fixed[3] if len(fixed) > 3 and fixed[3] is not None else []
        changed = open_ends(fixed[0], fixed[1], axes, steps, small, data.rows)
        if changed != fixed[1]:
            kind = known[node.input[2]].kind
            changed = [min(end, 2**31 - 1) for end in changed] if kind == onnx.TensorProto.INT32 else changed
            node.input[2] = self._constant(changed, known, kind)

    def _mend_resize(
        self, node: onnx.NodeProto, data: Known, known: dict[str, Known], before: list[onnx.NodeProto]
    ) -> None:
        sizes = known.get(node.input[3]) if len(node.input) > 3 and node.input[3] else None
        if sizes is None or sizes.fixed is None or data.rows is None or data.shapes[0] is None:
            return
        wanted = sizes.fixed.tolist()
        if len(wanted) == len(data.shapes[0]) and data.shapes[0][data.rows] == self.batch == wanted[data.rows]:
            node.input[3] = self._shape(wanted, data.rows, known, before)

    def _mend_squeeze(self, node: onnx.NodeProto, data: Known, known: dict[str, Known]) -> None:
        given = any(a.name == "axes" for a in node.attribute) or (len(node.input) > 1 and node.input[1])
        small = data.shapes[0]
        if given or small is None or None in small:
            return
        axes = [i for i, size in enumerate(small) if size == 1 and i != data.rows]
        version = next((one.version for one in self._opsets if one.domain in ("", "ai.onnx")), 13)
        if not axes:
            node.op_type = "Identity"
            del node.input[1:]
        elif version < 13:
            node.attribute.append(helper.make_attribute("axes", axes))
        else:
            del node.input[1:]
            node.input.append(self._constant(axes, known))

    def _mend_broadcast(
        self, node: onnx.NodeProto, given: list[Known | None], known: dict[str, Known], before: list[onnx.NodeProto]
    ) -> None:
        behind = {rows_from_end(one, node.op_type) for one in given if one is not None} - {None}
        if len(behind) != 1:
            return
        back = behind.pop()
        assert back is not None
        for at, one in enumerate(given):
            shape = one.shapes[0] if one is not None and not one.axes else None
            if shape is None or len(shape) < back or self.batch == 1:
                continue
            axis = len(shape) - back
            if shape[axis] == self.batch:
                # One of the equal rows stands for all.
                node.input[at] = self._first(node.input[at], axis, known, before)

    def _mend_concat(
        self, node: onnx.NodeProto, given: list[Known | None], known: dict[str, Known], before: list[onnx.NodeProto]
    ) -> None:
        carrying = {one.rows for one in given if one is not None and one.rows is not None}
        ranks = {len(one.shapes[0]) for one in given if one is not None and one.shapes[0] is not None}
        axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
        if len(carrying) != 1 or len(ranks) != 1:
            return
        rows = carrying.pop()
        if rows is None or rows == axis % next(iter(ranks)):
            return
        for at in range(len(node.input)):
            self._give_rows(node, at, rows, known, before)

    def _give_rows(
        self, node: onnx.NodeProto, at: int, axis: int, known: dict[str, Known], before: list[onnx.NodeProto]
    ) -> None:
        """Repeat an input of a node that is the same for all rows for each of them."""
        one = known.get(node.input[at])
        shape = one.shapes[0] if one is not None and not one.axes else None
        if one is None or shape is None or None in shape or axis >= len(shape) or shape[axis] not in (1, self.batch):
            return
        name = node.input[at]
        if shape[axis] != 1:
            name = self._first(name, axis, known, before)
        sizes = [int(size or 0) for size in shape]
        made = self._name()
        before.append(helper.make_node("Expand", [name, self._shape(sizes, axis, known, before)], [made], name=made))
        small, large = tuple(sizes), tuple(self._large if i == axis else size for i, size in enumerate(sizes))
        known[made] = Known(one.kind, (small, large))
        node.input[at] = made

    # New values

    def _first(self, name: str, axis: int, known: dict[str, Known], before: list[onnx.NodeProto]) -> str:
        """The first of a value's rows, their axis kept."""
        made = self._name()
        one = known[name]
        inputs = [name, self._constant([0], known)]
        before.append(helper.make_node("Gather", inputs, [made], name=made, axis=axis))
        shapes = [None if s is None else tuple(1 if i == axis else d for i, d in enumerate(s)) for s in one.shapes]
        known[made] = Known(one.kind, (shapes[0], shapes[1]))
        return made

    def _shape(self, sizes: list[int], axis: int, known: dict[str, Known], before: list[onnx.NodeProto]) -> str:
        """The sizes, with the number of rows on an axis."""
        self._count_made = True
        made = self._name()
        parts = [sizes[:axis], sizes[axis + 1 :]]
        names = [self._constant(part, known) if part else "" for part in parts]
        inputs = [name for name in (names[0], _COUNT, names[1]) if name]
        before.append(helper.make_node("Concat", inputs, [made], name=made, axis=0))
        both = [np.array([*parts[0], size, *parts[1]], np.int64) for size in (self.batch, self._large)]
        known[made] = Known(onnx.TensorProto.INT64, ((len(sizes),), (len(sizes),)), (both[0], both[1]))
        return made

    def _constant(self, values: list[int], known: dict[str, Known], kind: int = onnx.TensorProto.INT64) -> str:
        tensor = numpy_helper.from_array(np.array(values, helper.tensor_dtype_to_np_dtype(kind)), self._name())
        self._graph.initializer.append(tensor)
        known[tensor.name] = of_tensor(tensor)
        return tensor.name

    def _counting(self) -> list[onnx.NodeProto]:
        name, axis = self._source
        shape = f"{_COUNT}/shape"
        self._graph.initializer.append(numpy_helper.from_array(np.array([axis], np.int64), f"{_COUNT}/axis"))
        return [
            helper.make_node("Shape", [name], [shape], name=shape),
            helper.make_node("Gather", [shape, f"{_COUNT}/axis"], [_COUNT], name=_COUNT, axis=0),
        ]

    def _name(self) -> str:
        self._made += 1
        return f"{_COUNT}/{self._made}"
