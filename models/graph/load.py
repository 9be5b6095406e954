"""A model as the graph that is cut: functions inlined, constants lifted, sorted, nodes named, values typed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import onnx
import onnx_ir as ir
from onnx_ir.passes import common as passes
from onnx_ir.passes.common.naming import SimpleNameGenerator

from beamsplit.models.errors import UsageError
from beamsplit.models.graph.model_file import DROP_ZIPMAP, ModelFile, check_model_file, external_folder, parse_model
from beamsplit.models.graph.parts import NodeView, bodies, parts_of
from beamsplit.models.graph.targets import fix_targets
from beamsplit.models.graph.types import ask_types, infer_types

_ROUNDS = 4
"""Times that targets are looked for at most."""

_LEAST_IR = 4
"""Before IR 4 every initializer had to be an input too."""


def load_graph(model: ModelFile) -> ir.Model:
    """Load a model for cutting. The same file gives the same names and order each time.

    External data stays in its file (`ir.ExternalTensor`, memory-mapped when read). Names of inputs, outputs and
    tensors are kept; nodes without a name, or with one that another node has, get one. Nodes that no output needs are
    dropped, as ONNX Runtime drops them; so are sizes that a Reshape does without (`fix_targets`). A tensor whose type
    neither ONNX nor ONNX Runtime can tell has none.

    Raises:
        UsageError: the file is no ONNX model, its functions cannot be inlined, it has a cycle, or its inputs or
            outputs are maps.
    """
    check_model_file(model.path)
    proto = parse_model(model)
    _drop_maps(proto, model.path)
    try:
        graph = ir.serde.deserialize_model(proto)
    except ir.serde.SerdeError as error:
        raise UsageError(f"--model {model.path} cannot be read as a graph ({_cause(error)}): export it again") from None
    folder = external_folder(model.path)
    ir.external_data.set_base_dir(graph.graph, folder)
    graph.ir_version = max(graph.ir_version, _LEAST_IR)
    _step(model.path, "its functions cannot be inlined", passes.InlinePass(), graph)
    _constants_as_tensors(graph.graph)
    passes.LiftConstantsToInitializersPass(lift_all_constants=False, size_limit=0)(graph)
    passes.LiftSubgraphInitializersToMainGraphPass()(graph)
    passes.RemoveInitializersFromInputsPass()(graph)
    _step(model.path, "its nodes cannot be sorted", passes.TopologicalSortPass(), graph)
    passes.NameFixPass(_Names())(graph)
    _drop_unneeded(graph.graph, parts_of(graph))
    passes.RemoveUnusedOpsetsPass()(graph)
    for value in graph.graph.initializers.values():
        # What is stored tells the type of a weight best.
        if value.const_value is not None:
            value.type = ir.TensorType(value.const_value.dtype)
            value.shape = ir.Shape(value.const_value.shape.numpy())
    infer_types(graph)
    ask_types(graph, model.path, folder)
    for _ in range(_ROUNDS):
        if not fix_targets(graph):
            break
        # One that is fixed may tell the sizes of another.
        _drop_unneeded(graph.graph, parts_of(graph))
    return graph


class _Names(SimpleNameGenerator):
    """A node without a name is called after its operator."""

    def generate_node_name(self, node: ir.Node) -> str:
        """The node's own name, or that of its operator."""
        return node.name or node.op_type


def _step(path: str, problem: str, step: ir.passes.InPlacePass, model: ir.Model) -> None:
    try:
        step(model)
    except (ValueError, ir.passes.PassError) as error:
        raise UsageError(f"--model {path}: {problem} ({_cause(error)}): export it again") from None


def _cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split())[:200]


def _drop_maps(proto: onnx.ModelProto, path: str) -> None:
    """Forget recorded types with maps in them, which `onnx_ir` does not know; they stay inside one stage."""
    kept = [value for value in proto.graph.value_info if not _has_map(value.type)]
    if len(kept) != len(proto.graph.value_info):
        copies = [onnx.ValueInfoProto.FromString(value.SerializeToString()) for value in kept]
        del proto.graph.value_info[:]
        proto.graph.value_info.extend(copies)
    for role, values in (("input", proto.graph.input), ("output", proto.graph.output)):
        for value in values:
            if _has_map(value.type):
                fix = "export the model with tensors only"
                if role == "output":
                    fix += f", with options={{'zipmap': False}} (skl2onnx), or load it with the rewrite {DROP_ZIPMAP}"
                raise UsageError(f"--model {path}: {role} {value.name} is a map, but tensors are wanted: {fix}")


def _has_map(kind: onnx.TypeProto) -> bool:
    field = kind.WhichOneof("value")
    if field == "map_type":
        return True
    if field in ("sequence_type", "optional_type"):
        return _has_map(getattr(kind, field).elem_type)
    return False


def _drop_unneeded(graph: ir.Graph, parts: dict[str, NodeView]) -> None:
    """Remove what leads to no output. (`RemoveUnusedNodesPass` keeps what the body of a removed If captured.)"""
    needed = {str(value.name) for value in graph.outputs}
    for part in reversed(parts.values()):
        if needed.isdisjoint(part.makes):
            for node in [part.node, *(one for body in bodies(part.node) for one in _nodes_in(body))]:
                for at in range(len(node.inputs)):
                    node.replace_input_with(at, None)
            graph.remove(part.node)
        else:
            needed.update(part.reads, part.weights)
    for name in [name for name in graph.initializers if name not in needed]:
        del graph.initializers[name]


def _nodes_in(body: ir.Graph) -> Iterator[ir.Node]:
    return iter(ir.traversal.RecursiveGraphIterator(body))


_SCALARS: dict[str, tuple[ir.DataType, Callable[[ir.Attr], object]]] = {
    "value_int": (ir.DataType.INT64, ir.Attr.as_int),
    "value_ints": (ir.DataType.INT64, ir.Attr.as_ints),
    "value_float": (ir.DataType.FLOAT, ir.Attr.as_float),
    "value_floats": (ir.DataType.FLOAT, ir.Attr.as_floats),
}


def _constants_as_tensors(graph: ir.Graph) -> None:
    """Give Constant nodes with numbers or texts as attributes a tensor instead, which is what can be lifted."""
    for node in ir.traversal.RecursiveGraphIterator(graph):
        if node.op_type != "Constant" or node.domain not in ("", "ai.onnx") or len(node.attributes) != 1:
            continue
        name, attribute = next(iter(node.attributes.items()))
        tensor: ir.TensorProtocol
        if name in _SCALARS:
            dtype, read = _SCALARS[name]
            tensor = ir.tensor(read(attribute), dtype=dtype)  # type: ignore[arg-type]
        elif name == "value_string":
            tensor = ir.StringTensor([attribute.as_string().encode()], shape=ir.Shape([]))
        elif name == "value_strings":
            texts = [text.encode() for text in attribute.as_strings()]
            tensor = ir.StringTensor(texts, shape=ir.Shape([len(texts)]))
        else:
            continue
        del node.attributes[name]
        node.attributes["value"] = ir.AttrTensor("value", tensor)


def file_name(model: ModelFile) -> str:
    """The name of the model's file without its folder, as `Plan.model` has it."""
    return os.path.basename(model.path)
