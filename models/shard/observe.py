"""Shapes of every tensor of a graph on sample rows: what a rule needs to follow a split through a reshape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort

from beamsplit.models.errors import UsageError
from beamsplit.models.ort_reason import one_line


def observed_shapes(
    model: ir.Model, feeds: Mapping[str, np.ndarray[Any, Any]], folder: str = "."
) -> dict[str, tuple[int, ...]]:
    """Run the model once with every tensor as an output and keep the shapes; sequences and maps have none.

    Args:
        model: as `load_graph` gives it.
        feeds: few rows: every tensor is in memory at once. Sizes that differ from one another tell axes apart.
        folder: where the model's external data lies.

    Raises:
        UsageError: ONNX Runtime cannot run the model.
    """
    proto = ir.to_proto(model)
    given = {output.name for output in proto.graph.output}
    made = [name for node in proto.graph.node for name in node.output if name and name not in given]
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in made)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    # A fused node would not make the tensors inside it.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    # Nor is packing worth it for one run: weights stay in the model's file.
    options.add_session_config_entry("session.disable_prepacking", "1")
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
    try:
        session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
        values = session.run(None, dict(feeds))
    except Exception as error:  # ONNX Runtime's errors have no common base.
        raise UsageError(f"the model cannot be run on the sample: {one_line(error)}") from error
    names = [output.name for output in session.get_outputs()]
    shapes = {name: value.shape for name, value in zip(names, values, strict=True) if isinstance(value, np.ndarray)}
    # ONNX Runtime gives a scalar as a Python number.
    shapes |= {
        name: () for name, value in zip(names, values, strict=True) if isinstance(value, (int, float, np.generic))
    }
    return shapes | {name: np.shape(value) for name, value in feeds.items()}
