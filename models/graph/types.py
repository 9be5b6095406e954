"""Types and shapes of every value of a graph: a stage's inputs must have types, or ONNX Runtime refuses it."""

from __future__ import annotations

import re

import onnx
import onnx_ir as ir
import onnxruntime as ort

from beamsplit.models.errors import UsageError
from beamsplit.models.ort_reason import one_line

_BIG = 4096
"""Bytes from which the values of a weight are left out of what shape inference reads: no shape is that long."""


def skeleton(model: ir.Model, *, weights: bool = False) -> onnx.ModelProto:
    """The model as a message; without `weights` the large ones are inputs, so that it stays far below 2 GB."""
    copy = model.clone()
    if not weights:
        for name, value in list(copy.graph.initializers.items()):
            tensor = value.const_value
            if tensor is None or tensor.nbytes >= _BIG:
                del copy.graph.initializers[name]
                value.const_value = None
                if value not in copy.graph.inputs:
                    copy.graph.inputs.append(value)
    return ir.to_proto(copy)


def infer_types(model: ir.Model) -> None:
    """Set the types and shapes that ONNX's own inference finds; what it cannot find is left as it is.

    Shapes that the model records, those of its outputs too, are hints: exporters write down wrong ones, so they count
    only where nothing else is known.
    """
    proto = skeleton(model)
    declared = {info.name: info.type for info in [*proto.graph.value_info, *proto.graph.output]}
    known = {
        str(dim.value) for value in model.graph.inputs for dim in value.shape or () if isinstance(dim, ir.SymbolicDim)
    }
    hints = {name: bytes(kind.SerializeToString()) for name, kind in declared.items() if kind.HasField("tensor_type")}
    for name in hints:
        declared[name].tensor_type.ClearField("shape")
    inferred = infer_again(proto)
    if inferred is None:
        # Recorded types that contradict what is inferred.
        del proto.graph.value_info[:]
        inferred = infer_again(proto)
    if inferred is None:
        return
    found = {info.name: info.type for info in [*inferred.graph.value_info, *inferred.graph.output]}
    blank = [name for name in hints if name not in found or not found[name].tensor_type.HasField("shape")]
    if blank and _restore(proto, blank, hints):
        # What only the model knows may tell the shapes behind it.
        inferred = infer_again(proto) or inferred
    values = ir.convenience.create_value_mapping(model.graph, include_subgraphs=False)
    for info in [*inferred.graph.value_info, *inferred.graph.output]:
        value = values.get(info.name)
        if value is not None and not value.is_initializer() and not _has_map(info.type):
            value.type = ir.serde.deserialize_type_proto_for_type(info.type) or value.type
            shape = ir.serde.deserialize_type_proto_for_shape(info.type)
            if shape is not None:
                value.shape = _filled_in(shape, value.shape, known)


def _restore(proto: onnx.ModelProto, names: list[str], hints: dict[str, bytes]) -> bool:
    """Give the values of those names their recorded types back; whether any has a shape."""
    wanted = set(names)
    for info in [*proto.graph.value_info, *proto.graph.output]:
        if info.name in wanted:
            info.type.ParseFromString(hints[info.name])
    return any(onnx.TypeProto.FromString(hints[name]).tensor_type.HasField("shape") for name in names)


def _filled_in(shape: ir.Shape, recorded: ir.Shape | None, known: set[str]) -> ir.Shape:
    """The inferred shape, with the recorded sizes where nothing was inferred and the ranks agree."""
    if recorded is None or len(recorded) != len(shape):
        return shape
    dims = [
        dim if isinstance(dim, int) or (dim.value is not None and dim.value in known) else hint
        for dim, hint in zip(shape, recorded, strict=True)
    ]
    return ir.Shape(dims)


def infer_again(proto: onnx.ModelProto) -> onnx.ModelProto | None:
    """The model with what ONNX infers; None where it finds a contradiction."""
    try:
        return onnx.shape_inference.infer_shapes(proto, check_type=False, strict_mode=False, data_prop=True)
    except (onnx.shape_inference.InferenceError, RuntimeError):
        return None


def ask_types(model: ir.Model, path: str, folder: str) -> None:
    """Set the types that only ONNX Runtime knows (operators of other domains), by making the values outputs.

    One session is made, without weights where ONNX Runtime does not need them; none where nothing is missing.

    Raises:
        UsageError: ONNX Runtime cannot load the model.
    """
    made = [value for node in model.graph for value in node.outputs if value.name]
    if all(value.type is not None for value in made):
        return
    missing = [value for value in made if value.type is None or value.shape is None]
    problem: Exception | None = None
    for weights in (False, True):
        try:
            found = _ask(skeleton(model, weights=weights), [str(value.name) for value in missing], folder)
        except Exception as error:  # ONNX Runtime's errors have no common base.
            problem = error
            continue
        for value in missing:
            kind, shape = found[str(value.name)]
            value.type = value.type or kind
            value.shape = value.shape or shape
        return
    assert problem is not None
    raise UsageError(f"--model {path}: ONNX Runtime cannot load it: {one_line(problem)}") from problem


def _ask(
    proto: onnx.ModelProto, names: list[str], folder: str
) -> dict[str, tuple[ir.TypeProtocol | None, ir.Shape | None]]:
    given = {value.name for value in proto.graph.output}
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in given)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.disable_prepacking", "1")
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
    ort.set_default_logger_severity(4)
    session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return {output.name: (_type(output.type), _shape(output.shape)) for output in session.get_outputs()}


_NAMES = {"float": "FLOAT", "double": "DOUBLE"}


def _type(text: str) -> ir.TypeProtocol | None:
    """ONNX Runtime's word for a type, e.g. `"seq(tensor(int64))"`; None for one that `onnx_ir` does not know."""
    match = re.fullmatch(r"(tensor|seq|optional|sparse_tensor)\((.+)\)", text)
    if match is None:
        return None
    if match[1] in ("seq", "optional"):
        inner = _type(match[2])
        wrap = ir.SequenceType if match[1] == "seq" else ir.OptionalType
        return None if inner is None else wrap(inner)
    name = _NAMES.get(match[2], match[2].upper())
    if name not in ir.DataType.__members__:
        return None
    return (ir.TensorType if match[1] == "tensor" else ir.SparseTensorType)(ir.DataType[name])


def _shape(dims: list[int | str | None]) -> ir.Shape | None:
    """None for `[]`, which ONNX Runtime says of scalars and of unknown ranks."""
    return ir.Shape(dims) if dims else None


def _has_map(kind: onnx.TypeProto) -> bool:
    return "map_type" in str(kind)
