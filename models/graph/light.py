"""The CNNs that the onnx package ships without their weights, made into models that can be scored and timed."""

from __future__ import annotations

import os
import zlib

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import numpy_helper

from beamsplit.models.graph.rewrites import dynamic_rows


def light_model_path(name: str) -> str:
    """The file of one of the nine models, e.g. `light_model_path("light_squeezenet")`.

    Raises:
        FileNotFoundError: the installed onnx package has no model of that name.
    """
    path = os.path.join(os.path.dirname(onnx.__file__), "backend", "test", "data", "light", f"{name}.onnx")
    if not os.path.exists(path):
        raise FileNotFoundError(path)
    return path


def materialise_weights(src_path: str, dst_path: str) -> None:
    """Write the model with its weights as initializers and any number of rows.

    The source fills each weight with one constant as it is loaded (ConstantOfShape), which gives the same
    scores for every image. Here each such weight gets seeded random values, scaled so that activations
    neither vanish nor grow through the layers; the same file comes out each time.
    """
    model = onnx.load(src_path)
    graph = model.graph
    known = {tensor.name: tensor for tensor in graph.initializer}
    uses: dict[str, tuple[onnx.NodeProto, int]] = {}
    for node in graph.node:
        for position, name in enumerate(node.input):
            uses.setdefault(name, (node, position))
    shapes: dict[str, tuple[int, ...]] = {}
    kept = []
    for node in graph.node:
        if node.op_type == "ConstantOfShape" and node.input[0] in known:
            shapes[node.output[0]] = tuple(int(size) for size in numpy_helper.to_array(known[node.input[0]]))
        else:
            kept.append(node)
    for name, tensor in known.items():
        # Some biases and norms are already initializers, but as constant as the others.
        if tensor.data_type == onnx.TensorProto.FLOAT and name in uses:
            shapes[name] = tuple(tensor.dims)
    read = {name for node in kept for name in node.input}
    initializers = [tensor for name, tensor in known.items() if name in read and name not in shapes]
    inputs = [value for value in graph.input if value.name not in known]
    rebuilt = onnx.helper.make_graph(kept, graph.name, inputs, list(graph.output), initializers)
    result = onnx.helper.make_model(rebuilt, opset_imports=list(model.opset_import), ir_version=8)
    # Put where they stay, one at a time: some of these models have over half a gigabyte of weights.
    for name, shape in shapes.items():
        _put(_random_weight(name, shape, uses), name, result.graph.initializer.add())
    dynamic_rows(result)
    _spread_scores(result, dst_path)
    onnx.save(result, dst_path)


def _put(values: NDArray[np.float32], name: str, tensor: onnx.TensorProto) -> None:
    """Make the tensor hold the values."""
    tensor.Clear()
    tensor.name = name
    tensor.data_type = onnx.TensorProto.FLOAT
    tensor.dims.extend(values.shape)
    tensor.raw_data = values.astype("<f4", copy=False).tobytes()


def _spread_scores(model: onnx.ModelProto, scratch_path: str) -> None:
    """Scale the last layer so that its scores have a standard deviation of about 4 over the classes.

    Else residual sums leave a softmax of zeros and a one, and norms a flat one, the same for every image. The
    factor is a power of two, so that the same weights come out where the sums round differently. The model
    is run from a file at `scratch_path`, which stays.
    """
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    last = makers[graph.output[0].name]
    logits = last.input[0] if last.op_type == "Softmax" else last.output[0]
    outputs = list(graph.output)
    del graph.output[:]
    graph.output.append(onnx.helper.make_tensor_value_info(logits, onnx.TensorProto.FLOAT, None))
    onnx.save(model, scratch_path)
    del graph.output[:]
    graph.output.extend(outputs)
    options = ort.SessionOptions()
    options.add_session_config_entry("session.disable_prepacking", "1")  # A second copy of the weights, for one run.
    session = ort.InferenceSession(scratch_path, options, providers=["CPUExecutionProvider"])
    image = session.get_inputs()[0]
    values = np.random.default_rng(0).standard_normal((1, *image.shape[1:]), dtype=np.float32)
    spread = float(np.std(session.run([logits], {image.name: values})[0]))
    layer = makers[logits]
    while layer.op_type not in ("Conv", "Gemm"):
        layer = makers[layer.input[0]]
    factor = np.float32(2.0 ** round(np.log2(4 / spread)))
    reads = {tensor.name: tensor for tensor in graph.initializer}
    weight = layer.input[1]
    while weight not in reads:
        weight = makers[weight].input[0]
    for name in [weight, *layer.input[2:]]:
        _put(numpy_helper.to_array(reads[name]) * factor, name, reads[name])


def _random_weight(
    name: str, shape: tuple[int, ...], uses: dict[str, tuple[onnx.NodeProto, int]]
) -> NDArray[np.float32]:
    """Values for one weight, drawn by what reads it: a kernel, a bias, or one of a norm's four vectors."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    node, position = uses[name]
    # DenseNet's scales and inception_v1's last matrix are given their shape by a node between.
    while node.op_type in ("Unsqueeze", "Reshape"):
        node, position = uses[node.output[0]]
    values = rng.standard_normal(shape, dtype=np.float32)
    if node.op_type == "Mul" or (node.op_type == "BatchNormalization" and position in (1, 4)):
        return 1 + np.float32(0.1) * values.clip(-3, 3)
    if position == 1 and node.op_type in ("Conv", "Gemm"):
        values *= np.float32(np.sqrt(2 / np.prod(shape[1:])))
    else:
        values *= np.float32(0.05)
    return values
