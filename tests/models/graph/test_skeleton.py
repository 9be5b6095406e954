from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from beamsplit.models.graph import skeleton as module
from beamsplit.models.graph.light import light_model_path
from beamsplit.models.graph.skeleton import _skeleton, holds
from tests import onnx_models


@pytest.fixture(autouse=True)
def every_file_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SMALL_FILE", 0)


def test_a_small_file_is_searched_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SMALL_FILE", 4 << 20)
    path = onnx_models.save(onnx_models.mlp(), tmp_path / "m.onnx")
    assert _skeleton(path, 0, Path(path).stat().st_size) == Path(path).read_bytes()
    assert holds(path, "Gemm") and not holds(path, "Conv")


def test_weights_are_left_out(tmp_path: Path) -> None:
    path = onnx_models.save(onnx_models.mlp(256, 256), tmp_path / "m.onnx")
    skeleton = _skeleton(path, 0, Path(path).stat().st_size)
    assert len(skeleton) < 10_000 < Path(path).stat().st_size
    assert all(holds(path, name) for name in ("Gemm", "Relu", "w2", "batch"))
    assert not holds(path, "Conv")


def test_text_in_weights_does_not_count(tmp_path: Path) -> None:
    model = onnx_models.mlp()
    model.graph.initializer.append(numpy_helper.from_array(np.frombuffer(b"location" * 1000, np.uint8), "extra"))
    assert not holds(onnx_models.save(model, tmp_path / "m.onnx"), "location")


@pytest.mark.parametrize("raw", [True, False])
def test_tensors_of_constants_are_left_out_and_their_names_kept(tmp_path: Path, raw: bool) -> None:
    values = np.full(5000, 0x61616161, np.int32)
    tensor = helper.make_tensor("big", TensorProto.INT32, [5000], values.tobytes() if raw else values, raw=raw)
    tensor.doc_string = "remark"
    nodes = [helper.make_node("Constant", [], ["y"], value=tensor), helper.make_node("Neg", ["x"], ["z"])]
    model = onnx_models.build(nodes, [("x", 6, [1])], [("y", 6, [5000]), ("z", 6, [1])])
    path = onnx_models.save(model, tmp_path / "m.onnx")
    assert holds(path, "remark")
    assert holds(path, "Neg")
    assert not holds(path, "aaaaaaaa")


def test_external_data_of_a_large_branch_is_seen(tmp_path: Path) -> None:
    tensor = onnx.TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="weights.bin")
    filler = numpy_helper.from_array(np.zeros(5000, np.float32), "filler")
    output = helper.make_tensor_value_info("w", TensorProto.FLOAT, [1])
    branch = helper.make_graph([helper.make_node("Constant", [], ["w"], value=tensor)], "b", [], [output], [filler])
    node = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    model = onnx_models.build([node], [("c", TensorProto.BOOL, [])], [("y", TensorProto.FLOAT, [1])])
    assert holds(onnx_models.save(model, tmp_path / "m.onnx"), "location")


@settings(max_examples=50, deadline=None)
@given(head=st.binary(max_size=50), tail=st.binary(max_size=3000))
def test_whatever_the_bytes_are_it_ends_and_text_outside_tensors_is_found(
    tmp_path_factory: pytest.TempPathFactory, head: bytes, tail: bytes
) -> None:
    path = tmp_path_factory.mktemp("m") / "m.onnx"
    # Field 6 of ModelProto, the text about the model.
    text = b"needle" + b" " * 2000
    path.write_bytes(b"\x32" + bytes([len(text) & 0x7F | 0x80, len(text) >> 7]) + text + head + tail)
    assert holds(str(path), "needle")


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = onnx_models.save(onnx_models.mlp(), tmp_path / "m.onnx")
    assert not holds(path, "GRU")
    onnx_models.save(onnx_models.rnn(), path)
    assert holds(path, "GRU")


def test_models_of_the_onnx_package_are_laid_out_as_expected() -> None:
    path = light_model_path("light_densenet121")
    parsed = onnx.load(path)
    assert all(holds(path, name) for node in parsed.graph.node for name in (node.op_type, *node.output))
